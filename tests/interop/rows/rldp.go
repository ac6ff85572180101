package rows

import (
	"math/rand/v2"
	"testing"
	"time"
)

// sizes of questions and answers over RLDP: one symbol, a few, many, and more than the 48 from which TON's RaptorQ is its own.
var sizes = []struct{ question, answer int }{{10, 10}, {1024, 1024}, {30_000, 20_000}, {10, 200_000}, {40_000, 60_000}}

// eachRLDP runs a row for both versions of RLDP; ours begins with version 2 and answers in either.
func eachRLDP(t *testing.T, run func(t *testing.T, plan Plan)) {
	t.Run("version 2", func(t *testing.T) { run(t, Plan{}) })
	t.Run("version 1", func(t *testing.T) { run(t, Plan{FirstRLDP: true}) })
}

// Row 8: questions and answers of all sizes, without loss and with; and silence afterwards, because all was acknowledged.
func overRLDP(t *testing.T, _ Library) {
	eachRLDP(t, func(t *testing.T, plan Plan) {
		node, peer := newNode(t, plan), newPeer(t, "questions")
		relay := newRelay(t, node, peer)
		peer.dial(node, relay.ToNode)
		link := node.dial(peer, relay.ToPeer)
		number := uint64(0)
		// The library's version follows ours, which is 2: so version 1 is only asked.
		ask := func(question, answer int) {
			number += 2
			times, err := link.askRLDP(newAsk(number, answer, question), patience)
			once(t, times, err)
			if !plan.FirstRLDP {
				once(t, peer.ask(node, "rldp", newAsk(number+1, answer, question)), nil)
			}
		}
		for _, size := range sizes {
			ask(size.question, size.answer)
		}
		until(t, "nothing is sent again", func() bool {
			before := relay.traffic(FromNode).All + relay.traffic(FromPeer).All
			time.Sleep(300 * time.Millisecond)
			return relay.traffic(FromNode).All+relay.traffic(FromPeer).All-before <= 2
		})
		relay.set(lossy(10, 0, 0))
		for _, size := range sizes {
			ask(size.question, size.answer)
		}
	})
}

// Row 9: `complete` and the answer's symbol in one datagram.
func completeWithAnswer(t *testing.T, _ Library) {
	eachRLDP(t, func(t *testing.T, plan Plan) {
		node, peer := newNode(t, plan), newPeer(t, "one-packet")
		link := node.dial(peer, peer.Address)
		for i := range uint64(20) {
			times, err := link.askRLDP(newAsk(i, 100, 100), patience)
			once(t, times, err)
		}
	})
}

// Row 10: a question too large for who did not ask for it is dropped, and the session lives on.
func oversized(t *testing.T, _ Library) {
	node, peer := newNode(t, Plan{}), newPeer(t, "questions")
	peer.dial(node, node.Address)
	link := node.dial(peer, peer.Address)
	const limit = 3 * time.Second
	once(t, peer.ask(node, "rldp", newAsk(1, 10, 10)), nil)
	if times, err := peer.tryAsk(node, "rldp", newAsk(2, 10, 70_000), limit); err == nil {
		t.Fatalf("the peer executed 70,000 bytes %d times", times)
	}
	if times, err := link.askRLDP(newAsk(3, 10, 70_000), limit); err == nil {
		t.Fatalf("we executed 70,000 bytes %d times", times)
	}
	once(t, peer.ask(node, "rldp", newAsk(4, 60_000, 60_000)), nil)
	times, err := link.askRLDP(newAsk(5, 60_000, 60_000), patience)
	once(t, times, err)
}

// lossy loses, doubles and delays datagrams, in percent. The same datagrams in the same order have the same fate.
func lossy(lost, doubled, late int) func(Direction, []byte) Fate {
	random := rand.New(rand.NewPCG(1, 2))
	return func(Direction, []byte) Fate {
		fate := Fate{Copies: 1}
		switch at := random.IntN(100); {
		case at < lost:
			fate.Copies = 0
		case at < lost+doubled:
			fate.Copies = 2
		case at < lost+doubled+late:
			fate.Delay = 5 * time.Millisecond
		}
		return fate
	}
}
