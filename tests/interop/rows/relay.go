package rows

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Direction of a datagram through a relay.
type Direction int

const (
	// FromNode is from the library's node to our peer.
	FromNode Direction = iota
	// FromPeer is the other way.
	FromPeer
)

// Fate of a datagram: how often it is handed on, and how much later. The zero value is a loss.
type Fate struct {
	Copies int
	Delay  time.Duration
}

// Relay stands between a node and a peer: each dials the relay's address for the other. Rules decide what becomes of each datagram.
type Relay struct {
	// ToPeer is where the node finds the peer, ToNode where the peer finds the node.
	ToPeer, ToNode string
	mutex          sync.Mutex
	rule           func(from Direction, datagram []byte) Fate
	ids            [][]byte
	counts         [2]Traffic
}

// Traffic counts the datagrams of one direction that came to the relay.
type Traffic struct{ All, Root int }

func newRelay(t *testing.T, node *Node, peer *Peer) *Relay {
	relay := &Relay{ids: [][]byte{keyID(node.secret.Public()), keyID(peer.publicKey())}}
	listen := func() net.PacketConn {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		must(t, err)
		t.Cleanup(func() { socket.Close() })
		return socket
	}
	nodeSide, peerSide := listen(), listen()
	relay.ToPeer, relay.ToNode = nodeSide.LocalAddr().String(), peerSide.LocalAddr().String()
	go relay.run(FromNode, nodeSide, peerSide, resolve(t, peer.Address))
	go relay.run(FromPeer, peerSide, nodeSide, resolve(t, node.Address))
	return relay
}

// set gives every datagram from now on its fate; nil hands on everything.
func (r *Relay) set(rule func(from Direction, datagram []byte) Fate) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.rule = rule
}

// traffic is what came so far.
func (r *Relay) traffic(from Direction) Traffic {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.counts[from]
}

func (r *Relay) run(from Direction, in, out net.PacketConn, to net.Addr) {
	buffer := make([]byte, 2048)
	for {
		n, _, err := in.ReadFrom(buffer)
		if err != nil {
			return
		}
		datagram := append([]byte(nil), buffer[:n]...)
		fate := r.decide(from, datagram)
		for range fate.Copies {
			if fate.Delay == 0 {
				out.WriteTo(datagram, to)
			} else {
				time.AfterFunc(fate.Delay, func() { out.WriteTo(datagram, to) })
			}
		}
	}
}

func (r *Relay) decide(from Direction, datagram []byte) Fate {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.counts[from].All++
	if r.isRoot(datagram) {
		r.counts[from].Root++
	}
	if r.rule == nil {
		return Fate{Copies: 1}
	}
	return r.rule(from, datagram)
}

// isRoot tells packets outside of channels: they begin with the receiver's id.
func (r *Relay) isRoot(datagram []byte) bool {
	for _, id := range r.ids {
		if len(datagram) >= len(id) && string(datagram[:len(id)]) == string(id) {
			return true
		}
	}
	return false
}

func resolve(t *testing.T, address string) net.Addr {
	resolved, err := net.ResolveUDPAddr("udp4", address)
	must(t, err)
	return resolved
}
