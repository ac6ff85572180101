// Package goold runs the interop rows against tonutils-go v1.15.0, which is what an unmodified payment node speaks.
package goold

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/adnl"
	"github.com/xssnick/tonutils-go/adnl/address"
	"github.com/xssnick/tonutils-go/adnl/dht"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"

	"causeway/interop/rows"
)

const ttl = 30 * time.Minute

func TestRows(t *testing.T) {
	rows.Run(t, rows.Library{StoreAddress: storeAddress, Store: store, ServeLite: serveLite})
}

func storeAddress(ctx context.Context, client *dht.Client, list address.List, owner ed25519.PrivateKey) (int, error) {
	stored, _, err := client.StoreAddress(ctx, list, ttl, owner, 1)
	return stored, err
}

func store(ctx context.Context, client *dht.Client, record rows.Record) (int, error) {
	name := []byte(record.Name)
	stored, _, err := client.Store(ctx, record.Key, name, 0, record.Data, record.Rule, ttl, record.Owner, 1)
	return stored, err
}

// In this version the server hands over every message, and authentication and pings are its user's.
func serveLite(t *testing.T, key ed25519.PrivateKey, at string, answer func(tl.Serializable) tl.Serializable) {
	server := liteclient.NewServer([]ed25519.PrivateKey{key})
	server.SetMessageHandler(func(_ context.Context, client *liteclient.ServerClient, message tl.Serializable) error {
		switch message := message.(type) {
		case adnl.MessageQuery:
			query := message.Data.(liteclient.LiteServerQuery)
			return client.Send(adnl.MessageAnswer{ID: message.ID, Data: answer(query.Data)})
		case liteclient.TCPAuthenticate:
			return client.Send(liteclient.TCPAuthenticationNonce{Nonce: make([]byte, 32)})
		case liteclient.TCPPing:
			return client.Send(liteclient.TCPPong{RandomID: message.RandomID})
		}
		return nil
	})
	go server.Listen(at)
	t.Cleanup(func() { server.Close() })
}
