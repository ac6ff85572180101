package rows

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/adnl"
	"github.com/xssnick/tonutils-go/adnl/rldp"
)

// maxAnswer bounds answers over RLDP.
const maxAnswer = 1 << 21

// Plan is how a node of the library behaves.
type Plan struct {
	// Reinit reinitialises every connection, in a goroutine that races with its first packet, as the payment node does.
	Reinit bool
	// FirstRLDP begins with version 1 of RLDP.
	FirstRLDP bool
}

// Node is a node of the library that answers questions.
type Node struct {
	t         *testing.T
	plan      Plan
	secret    ed25519.PrivateKey
	manager   *adnl.MultiNetManager
	Gateway   *adnl.Gateway
	Address   string
	questions teller
	mutex     sync.Mutex
	links     map[string]*link
}

// link is a connection with what runs on it.
type link struct {
	peer adnl.Peer
	rldp *rldp.RLDP
}

func newNode(t *testing.T, plan Plan) *Node {
	node := &Node{t: t, plan: plan, secret: randomKey(t)}
	node.start("127.0.0.1:0")
	t.Cleanup(node.stop)
	return node
}

func (n *Node) start(address string) {
	n.t.Helper()
	socket, err := net.ListenPacket("udp4", address)
	must(n.t, err)
	n.links = map[string]*link{}
	n.Address = socket.LocalAddr().String()
	n.manager = adnl.NewMultiNetReader(socket)
	n.Gateway = adnl.NewGatewayWithNetManager(n.secret, n.manager)
	n.Gateway.SetConnectionHandler(func(peer adnl.Peer) error {
		n.attach(peer)
		return nil
	})
	must(n.t, n.Gateway.StartServer(n.Address))
}

func (n *Node) stop() {
	n.Gateway.Close()
	n.manager.Close()
}

// restart loses everything but the key and the port, a second later: its epoch counts seconds.
func (n *Node) restart() {
	n.t.Helper()
	n.stop()
	time.Sleep(1100 * time.Millisecond)
	n.start(n.Address)
}

func (n *Node) attach(peer adnl.Peer) *link {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	id := hex.EncodeToString(peer.GetID())
	if known := n.links[id]; known != nil && known.peer == peer {
		return known
	}
	if n.plan.Reinit {
		go peer.Reinit()
	}
	peer.SetQueryHandler(func(query *adnl.MessageQuery) error {
		if ask, is := query.Data.(Ask); is {
			return peer.Answer(context.Background(), query.ID, n.questions.tell(ask))
		}
		return fmt.Errorf("unknown query %T", query.Data)
	})
	begin := rldp.NewClientV2
	if n.plan.FirstRLDP {
		begin = rldp.NewClient
	}
	overRLDP := begin(peer)
	overRLDP.SetOnQuery(func(transfer []byte, query *rldp.Query) error {
		ask, is := query.Data.(Ask)
		if !is {
			return fmt.Errorf("unknown query %T", query.Data)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return overRLDP.SendAnswer(ctx, query.MaxAnswerSize, query.Timeout, query.ID, transfer, n.questions.tell(ask))
	})
	made := &link{peer, overRLDP}
	n.links[id] = made
	return made
}

// dial makes our peer known, at its own address or another.
func (n *Node) dial(peer *Peer, address string) *link {
	n.t.Helper()
	client, err := n.Gateway.RegisterClient(address, peer.publicKey())
	must(n.t, err)
	return n.attach(client)
}

func (n *Node) key() string {
	return hex.EncodeToString(n.secret.Public().(ed25519.PublicKey))
}

// ask asks over ADNL and says how often the question was executed.
func (l *link) ask(ask Ask) (uint32, error) { return l.askFor(ask, patience) }

func (l *link) askFor(ask Ask, limit time.Duration) (uint32, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var told Told
	if err := l.peer.Query(ctx, ask, &told); err != nil {
		return 0, err
	}
	return ask.check(told)
}

// askRLDP asks over RLDP and says how often the question was executed.
func (l *link) askRLDP(ask Ask, limit time.Duration) (uint32, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var told Told
	if err := l.rldp.DoQuery(ctx, maxAnswer, ask, &told); err != nil {
		return 0, err
	}
	return ask.check(told)
}

// once fails the test unless a question was answered, and executed once.
func once(t *testing.T, times uint32, err error) {
	t.Helper()
	must(t, err)
	if times != 1 {
		t.Fatalf("executed %d times", times)
	}
}

func randomKey(t *testing.T) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return key
}
