// Package gonew runs the interop rows against tonutils-go v1.18.0.
package gonew

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/adnl"
	"github.com/xssnick/tonutils-go/adnl/address"
	"github.com/xssnick/tonutils-go/adnl/dht"
	"github.com/xssnick/tonutils-go/adnl/keys"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"

	"causeway/interop/rows"
)

const (
	ttl = 30 * time.Minute
	// anyNetwork makes signatures of DHT nodes without a network's number.
	anyNetwork = -1
)

func TestRows(t *testing.T) {
	rows.Run(t, rows.Library{
		StoreAddress: storeAddress, Store: store, ServeDHT: serveDHT, ServeLite: serveLite,
	})
}

func storeAddress(ctx context.Context, client *dht.Client, list address.List, owner ed25519.PrivateKey) (int, error) {
	stored, _, err := client.StoreAddress(ctx, list, ttl, owner)
	return stored, err
}

func store(ctx context.Context, client *dht.Client, record rows.Record) (int, error) {
	name := []byte(record.Name)
	stored, _, err := client.Store(ctx, record.Key, name, 0, record.Data, record.Rule, ttl, record.Owner)
	return stored, err
}

func serveDHT(t *testing.T, gateway *adnl.Gateway, key ed25519.PrivateKey) *dht.Node {
	server, err := dht.NewServer(gateway, key, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	list := gateway.GetAddressList()
	id := keys.PublicKeyED25519{Key: key.Public().(ed25519.PublicKey)}
	node, err := dht.BuildSignedNode(id, &list, list.Version, anyNetwork, key)
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func serveLite(t *testing.T, key ed25519.PrivateKey, at string, answer func(tl.Serializable) tl.Serializable) {
	server := liteclient.NewServer([]ed25519.PrivateKey{key})
	server.SetQueryHandler(func(_ context.Context, client *liteclient.ServerClient, id []byte, query tl.Serializable) {
		client.Answer(id, answer(query))
	})
	go server.Listen(at)
	t.Cleanup(func() { server.Close() })
}
