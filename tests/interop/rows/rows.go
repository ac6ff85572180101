// Package rows is the interop matrix of our network stack (network appendix C): each row is one Go function, run against the version of
// tonutils-go that the importing module pins. What the versions call differently comes in with a Library.
//
// The other side is a process of our stack (tests/interop/peer), driven line by line; the chain is our devnet. Everything is on loopback
// and ends with the test.
package rows

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/adnl"
	"github.com/xssnick/tonutils-go/adnl/address"
	"github.com/xssnick/tonutils-go/adnl/dht"
	"github.com/xssnick/tonutils-go/tl"
)

// patience bounds what should take milliseconds, so that a slow machine is not a failure.
const patience = 20 * time.Second

// Library is what differs between the versions.
type Library struct {
	// StoreAddress publishes a node's addresses, Store any value under any update rule; both tell how many nodes took it.
	StoreAddress func(ctx context.Context, client *dht.Client, list address.List, owner ed25519.PrivateKey) (int, error)
	Store        func(ctx context.Context, client *dht.Client, value Record) (int, error)
	// ServeDHT runs the library's DHT server on a started gateway; nil where it has none. It returns how to present the server.
	ServeDHT func(t *testing.T, gateway *adnl.Gateway, key ed25519.PrivateKey) *dht.Node
	// ServeLite runs the library's lite server, whose answers come from a function, until the test ends.
	ServeLite func(t *testing.T, key ed25519.PrivateKey, address string, answer func(query tl.Serializable) tl.Serializable)
}

// Record is what is stored in the DHT: under a key, a name and an update rule, signed by the owner if the rule wants it.
type Record struct {
	Key   any
	Name  string
	Rule  any
	Data  []byte
	Owner ed25519.PrivateKey
}

type row struct {
	number int
	name   string
	run    func(t *testing.T, library Library)
}

var all = []row{
	{1, "first contact", firstContact},
	{2, "many queries in the channel", manyQueries},
	{3, "parts", parts},
	{4, "several messages per packet", coalesced},
	{5, "our restart", ourRestart},
	{6, "peer restart", peerRestart},
	{7, "peer closed us", peerClosedUs},
	{8, "RLDP", overRLDP},
	{9, "complete and answer in one datagram", completeWithAnswer},
	{10, "oversized RLDP question", oversized},
	{11, "our DHT server", ourDHT},
	{12, "our DHT client, their server", theirDHT},
	{13, "lite servers", liteServers},
	{14, "loss, doubles, disorder", loss},
	{15, "crossing createChannel", crossing},
	{17, "lite servers, policy Secure", secureClient},
}

// Run runs all rows as subtests, named by number: `go test -run 'Rows/03'`.
func Run(t *testing.T, library Library) {
	for _, row := range all {
		t.Run(fmt.Sprintf("%02d %s", row.number, row.name), func(t *testing.T) {
			t.Parallel()
			row.run(t, library)
		})
	}
}

// both runs a row as the payment node meets it, which reinitialises every new connection, and without that.
func both(t *testing.T, run func(t *testing.T, reinit bool)) {
	t.Run("plain", func(t *testing.T) { run(t, false) })
	t.Run("with Reinit", func(t *testing.T) { run(t, true) })
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
