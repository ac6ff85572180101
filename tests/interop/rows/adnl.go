package rows

import (
	"crypto"
	"crypto/ed25519"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/adnl/keys"
	"github.com/xssnick/tonutils-go/tl"
)

func keyID(key crypto.PublicKey) []byte {
	id, err := tl.Hash(keys.PublicKeyED25519{Key: key.(ed25519.PublicKey)})
	if err != nil {
		panic(err)
	}
	return id
}

// Row 1: either side begins; afterwards both ask through the channel.
func firstContact(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		t.Run("we begin", func(t *testing.T) {
			node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
			peer.dial(node, node.Address)
			peer.ask(node, "adnl", newAsk(1, 100, 10))
			times, err := node.dial(peer, peer.Address).ask(newAsk(2, 100, 10))
			once(t, times, err)
		})
		t.Run("the peer begins", func(t *testing.T) {
			node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
			times, err := node.dial(peer, peer.Address).ask(newAsk(1, 100, 10))
			once(t, times, err)
			peer.ask(node, "adnl", newAsk(2, 100, 10))
		})
	})
}

// Row 2: a thousand queries one after another and 64 at a time, both ways, all inside the channel.
func manyQueries(t *testing.T, _ Library) {
	node, peer := newNode(t, Plan{}), newPeer(t, "questions")
	relay := newRelay(t, node, peer)
	peer.dial(node, relay.ToNode)
	link := node.dial(peer, relay.ToPeer)
	peer.ask(node, "adnl", newAsk(1, 100, 10))
	times, err := link.ask(newAsk(2, 100, 10))
	once(t, times, err)
	until(t, "the channel is ready", func() bool {
		before := relay.traffic(FromNode).Root + relay.traffic(FromPeer).Root
		peer.ask(node, "adnl", newAsk(3, 100, 10))
		_, err := link.ask(newAsk(4, 100, 10))
		must(t, err)
		return relay.traffic(FromNode).Root+relay.traffic(FromPeer).Root == before
	})

	before := relay.traffic(FromPeer).Root + relay.traffic(FromNode).Root
	peer.askMany(node, newAsk(1_000, 200, 300), 500, 1)
	peer.askMany(node, newAsk(2_000, 200, 300), 640, 64)
	var asking sync.WaitGroup
	for worker := range uint64(64) {
		asking.Go(func() {
			for i := range uint64(16) {
				if times, err := link.ask(newAsk(5_000+100*worker+i, 200, 300)); err != nil || times != 1 {
					t.Errorf("question %d of %d: executed %d times, %v", i, worker, times, err)
				}
			}
		})
	}
	asking.Wait()
	if after := relay.traffic(FromPeer).Root + relay.traffic(FromNode).Root; after != before {
		t.Errorf("%d root packets while the channel was ready", after-before)
	}
}

// Row 3: messages larger than a datagram, both ways; their parts in any order.
func parts(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
		relay := newRelay(t, node, peer)
		peer.dial(node, relay.ToNode)
		link := node.dial(peer, relay.ToPeer)
		for i, size := range []struct{ question, answer int }{{3072, 10}, {8200, 10}, {10, 6144}, {8200, 8192}} {
			peer.ask(node, "adnl", newAsk(uint64(10+i), size.answer, size.question))
			times, err := link.ask(newAsk(uint64(20+i), size.answer, size.question))
			once(t, times, err)
		}
		// Each datagram of a burst overtakes those before it.
		relay.set(overtaking())
		peer.ask(node, "adnl", newAsk(30, 6144, 8000))
		times, err := link.ask(newAsk(31, 6144, 8000))
		once(t, times, err)
	})
}

// overtaking hands on each datagram of a burst earlier than those before it.
func overtaking() func(Direction, []byte) Fate {
	const step, most = 3 * time.Millisecond, 40 * time.Millisecond
	var last [2]time.Time
	var delay [2]time.Duration
	return func(from Direction, _ []byte) Fate {
		if time.Since(last[from]) > most {
			delay[from] = most
		}
		last[from] = time.Now()
		delay[from] = max(delay[from]-step, time.Millisecond)
		return Fate{Copies: 1, Delay: delay[from]}
	}
}

// Row 4: several queries in one datagram are all answered.
func coalesced(t *testing.T, _ Library) {
	node, peer := newNode(t, Plan{}), newPeer(t, "questions")
	relay := newRelay(t, node, peer)
	peer.dial(node, relay.ToNode)
	peer.ask(node, "adnl", newAsk(1, 10, 10))
	const count = 256
	until(t, "queries share datagrams", func() bool {
		before := relay.traffic(FromPeer).All
		peer.askMany(node, newAsk(uint64(1_000+before), 10, 10), count, count)
		return relay.traffic(FromPeer).All-before < count*3/4
	})
}

// Row 5: we restart with the next epoch, also within the second, with a clock that was set back, and without our records.
func ourRestart(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
		peer.dial(node, node.Address)
		link := node.dial(peer, peer.Address)
		number := uint64(0)
		exchange := func(what string) {
			number += 2
			if _, err := peer.tryAsk(node, "adnl", newAsk(number, 100, 100), patience); err != nil {
				t.Fatalf("%s: we ask: %v", what, err)
			}
			if _, err := link.ask(newAsk(number+1, 100, 100)); err != nil {
				t.Fatalf("%s: the peer asks: %v", what, err)
			}
		}
		exchange("before")
		for _, restart := range []struct {
			what   string
			shift  int
			forget bool
		}{{"at once", 0, false}, {"again at once", 0, false}, {"the clock set back", -3600, false}, {"records lost", 0, true}} {
			if restart.forget {
				peer.do("forget")
			}
			peer.restart(restart.shift)
			peer.dial(node, node.Address)
			exchange(restart.what)
		}
		// The peer asks first. What v1.15.0 wrote for the old channel it repeats as it is: only its next question is for the new one.
		peer.restart(0)
		peer.dial(node, node.Address)
		until(t, "the peer, asking first, is answered", func() bool {
			number++
			_, err := link.askFor(newAsk(1_000+number, 100, 100), 2*time.Second)
			return err == nil
		})
	})
}

// Row 6: the peer restarts twice and knows nothing of us; we keep what we know.
func peerRestart(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
		peer.dial(node, node.Address)
		peer.ask(node, "adnl", newAsk(1, 100, 100))
		for i := range uint64(2) {
			node.restart()
			peer.ask(node, "adnl", newAsk(10+i, 100, 100))
			node.restart()
			times, err := node.dial(peer, peer.Address).ask(newAsk(20+i, 100, 100))
			once(t, times, err)
			peer.ask(node, "adnl", newAsk(30+i, 100, 100))
		}
	})
}

// Row 7: the peer closes the session, of which it does not tell us; we find out by asking.
func peerClosedUs(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
		peer.dial(node, node.Address)
		link := node.dial(peer, peer.Address)
		for i := range uint64(3) {
			peer.ask(node, "adnl", newAsk(10+i, 100, 100))
			link.peer.Close()
			peer.ask(node, "adnl", newAsk(20+i, 100, 100))
			link = node.dial(peer, peer.Address)
			times, err := link.ask(newAsk(30+i, 100, 100))
			once(t, times, err)
		}
	})
}

// Row 15: both sides open a channel at the same moment: their first packets cross.
func crossing(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
		relay := newRelay(t, node, peer)
		relay.set(func(Direction, []byte) Fate { return Fate{Copies: 1, Delay: 100 * time.Millisecond} })
		link := node.dial(peer, relay.ToPeer)
		asked := make(chan error, 1)
		go func() {
			_, err := link.ask(newAsk(1, 100, 100))
			asked <- err
		}()
		peer.dial(node, relay.ToNode)
		peer.ask(node, "adnl", newAsk(2, 100, 100))
		must(t, <-asked)
		relay.set(nil)
		until(t, "one channel serves both", func() bool {
			before := relay.traffic(FromNode).Root + relay.traffic(FromPeer).Root
			peer.ask(node, "adnl", newAsk(3, 100, 100))
			_, err := link.ask(newAsk(4, 100, 100))
			must(t, err)
			return relay.traffic(FromNode).Root+relay.traffic(FromPeer).Root == before
		})
	})
}

// until tries something again until it is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes to be that %s", what)
		}
	}
}
