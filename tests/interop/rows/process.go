package rows

import (
	"bufio"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// program finds a program that cargo built; `cargo xtask interop` says where.
func program(t *testing.T, name string) string {
	folder := os.Getenv("CAUSEWAY_BINARIES")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "target", "debug")
	}
	path := filepath.Join(folder, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `cargo xtask interop`, or build it and set CAUSEWAY_BINARIES to its folder", err)
	}
	return path
}

// Peer is a process of our stack. Its commands are in peer/src/commands.rs.
type Peer struct {
	t       *testing.T
	input   io.Writer
	mutex   sync.Mutex
	next    int
	waiting map[string]chan string
	// What `listen` was told and answered.
	seed    string
	Key     string
	Address string
	Epoch   string
}

// startPeer starts the process; it ends with the test, and at the latest with us, because its input does.
func startPeer(t *testing.T) *Peer {
	command := exec.Command(program(t, "interop-peer"))
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	must(t, err)
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		input.Close()
		kill := time.AfterFunc(patience, func() { command.Process.Kill() })
		command.Wait()
		kill.Stop()
	})
	peer := &Peer{t: t, input: input, waiting: map[string]chan string{}, seed: hex.EncodeToString(randomKey(t).Seed())}
	go peer.read(output)
	return peer
}

// newPeer starts a peer that listens.
func newPeer(t *testing.T, serve string) *Peer {
	peer := startPeer(t)
	peer.listen("0", "0", 0, serve)
	return peer
}

// listen opens the endpoint: `last` is the epoch of the run before, `shift` is what its clock is wrong by, in seconds.
func (p *Peer) listen(port, last string, shift int, serve string) {
	p.t.Helper()
	words := strings.Fields(p.do("listen", p.seed, port, last, shift, serve))
	p.Key, p.Address, p.Epoch = words[0], words[1], words[2]
}

// restart closes the endpoint and opens it again where it was.
func (p *Peer) restart(shift int) {
	p.t.Helper()
	p.do("close")
	p.listen(p.Address[strings.LastIndex(p.Address, ":")+1:], p.Epoch, shift, "questions")
}

// dial makes a node known, at its own address or another.
func (p *Peer) dial(node *Node, address string) {
	p.t.Helper()
	p.do("dial", node.key(), address)
}

// ask asks one question and says how often it was executed.
func (p *Peer) ask(node *Node, transport string, ask Ask) uint32 {
	p.t.Helper()
	times, err := p.tryAsk(node, transport, ask, patience)
	must(p.t, err)
	return times
}

func (p *Peer) tryAsk(node *Node, transport string, ask Ask, limit time.Duration) (uint32, error) {
	answer, err := p.try("ask", node.key(), limit.Milliseconds(), transport, ask.Number, ask.AnswerSize, len(ask.Data))
	if err != nil {
		return 0, err
	}
	times, err := strconv.ParseUint(answer, 10, 32)
	return uint32(times), err
}

// askMany asks questions of rising numbers, so many at once, and says how often the most executed one was.
func (p *Peer) askMany(node *Node, first Ask, count, atOnce int) string {
	p.t.Helper()
	return p.do("ask-many", node.key(), patience.Milliseconds(), first.Number, count, atOnce, first.AnswerSize, len(first.Data))
}

func (p *Peer) publicKey() ed25519.PublicKey {
	key, err := hex.DecodeString(p.Key)
	must(p.t, err)
	return key
}

// do executes a command that has to succeed.
func (p *Peer) do(words ...any) string {
	p.t.Helper()
	answer, err := p.try(words...)
	must(p.t, err)
	return answer
}

func (p *Peer) try(words ...any) (string, error) {
	answer := make(chan string, 1)
	p.mutex.Lock()
	p.next++
	tag := strconv.Itoa(p.next)
	p.waiting[tag] = answer
	_, err := fmt.Fprintln(p.input, append([]any{tag}, words...)...)
	p.mutex.Unlock()
	if err != nil {
		return "", err
	}
	select {
	case line, open := <-answer:
		status, rest, _ := strings.Cut(line, " ")
		if !open || status != "ok" {
			return "", fmt.Errorf("%v: %s", words[0], line)
		}
		return strings.TrimSpace(rest), nil
	case <-time.After(3 * patience):
		return "", fmt.Errorf("%v: the peer does not answer", words[0])
	}
}

func (p *Peer) read(output io.Reader) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		tag, answer, _ := strings.Cut(lines.Text(), " ")
		p.mutex.Lock()
		if waiting, known := p.waiting[tag]; known {
			waiting <- answer
			delete(p.waiting, tag)
		}
		p.mutex.Unlock()
	}
	p.mutex.Lock()
	for tag, waiting := range p.waiting {
		close(waiting)
		delete(p.waiting, tag)
	}
	p.mutex.Unlock()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
