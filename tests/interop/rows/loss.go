package rows

import (
	"sync"
	"testing"
)

// Row 14: datagrams are lost, doubled and late. Everything is answered, we execute nothing twice, and lost answers are repeated.
func loss(t *testing.T, _ Library) {
	both(t, func(t *testing.T, reinit bool) {
		node, peer := newNode(t, Plan{Reinit: reinit}), newPeer(t, "questions")
		relay := newRelay(t, node, peer)
		peer.dial(node, relay.ToNode)
		link := node.dial(peer, relay.ToPeer)
		peer.ask(node, "adnl", newAsk(1, 10, 10))
		for i, percent := range []int{5, 20} {
			relay.set(lossy(percent, 5, 10))
			number := uint64(10_000 * (i + 1))
			peer.askMany(node, newAsk(number, 1500, 600), 100, 16)
			var asking sync.WaitGroup
			for worker := range uint64(10) {
				asking.Go(func() {
					for i := range uint64(10) {
						if times, err := link.ask(newAsk(number+5_000+100*worker+i, 1500, 600)); err != nil || times != 1 {
							t.Errorf("with %d %% loss: executed %d times, %v", percent, times, err)
						}
					}
				})
			}
			asking.Wait()
			times, err := link.askRLDP(newAsk(number+9_000, 30_000, 3_000), patience)
			once(t, times, err)
		}
	})
	t.Run("lost answers", func(t *testing.T) {
		node, peer := newNode(t, Plan{}), newPeer(t, "questions")
		relay := newRelay(t, node, peer)
		link := node.dial(peer, relay.ToPeer)
		times, err := link.ask(newAsk(1, 10, 10))
		once(t, times, err)
		// A question of one datagram, and one in parts.
		for i, size := range []int{10, 3000, 10, 3000} {
			left := 1
			relay.set(func(from Direction, _ []byte) Fate {
				if from == FromPeer && left > 0 {
					left--
					return Fate{}
				}
				return Fate{Copies: 1}
			})
			times, err := link.ask(newAsk(uint64(10+i), 10, size))
			once(t, times, err)
		}
	})
	t.Run("every datagram three times", func(t *testing.T) {
		node, peer := newNode(t, Plan{}), newPeer(t, "questions")
		relay := newRelay(t, node, peer)
		relay.set(func(Direction, []byte) Fate { return Fate{Copies: 3} })
		link := node.dial(peer, relay.ToPeer)
		for i := range uint64(50) {
			times, err := link.ask(newAsk(i, 3000, 3000))
			once(t, times, err)
			times, err = link.askRLDP(newAsk(100+i, 3000, 3000), patience)
			once(t, times, err)
		}
	})
}
