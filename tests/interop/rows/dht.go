package rows

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/adnl/dht"
	"github.com/xssnick/tonutils-go/adnl/keys"
	"github.com/xssnick/tonutils-go/adnl/overlay"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"
)

func init() {
	tl.Register(nodeAddress{}, "payments.nodeAddress adnl_addr:int256 = payments.NodeAddress")
}

// nodeAddress is what a payment node publishes under its channel key.
type nodeAddress struct {
	ID []byte `tl:"int256"`
}

const paymentNode = "payment-node"

// Row 11: our DHT server, alone and as one of three that name each other, with both clients: what either stores, both find.
func ourDHT(t *testing.T, library Library) {
	t.Run("one node", func(t *testing.T) {
		server := newPeer(t, "dht")
		storeAndFind(t, library, []string{server.do("dht-section")})
	})
	t.Run("three nodes", func(t *testing.T) {
		var sections []string
		for range 3 {
			server := startPeer(t)
			server.do("dht-nodes", configuration(t, sections))
			server.listen("0", "0", 0, "dht")
			sections = append(sections, server.do("dht-section"))
		}
		// The clients know the newest, which names the others.
		storeAndFind(t, library, sections[2:])
	})
}

// Row 12: our DHT client and the library's server.
func theirDHT(t *testing.T, library Library) {
	if library.ServeDHT == nil {
		t.Skip("this version has no DHT server")
	}
	node := newNode(t, Plan{})
	storeAndFind(t, library, []string{section(t, library.ServeDHT(t, node.Gateway, node.secret))})
}

// storeAndFind has both clients store both records and find what the other stored, and nothing where nothing was stored.
func storeAndFind(t *testing.T, library Library, sections []string) {
	node, peer := newNode(t, Plan{}), newPeer(t, "questions")
	var config liteclient.GlobalConfig
	must(t, json.Unmarshal([]byte(configuration(t, sections)), &config))
	client, err := dht.NewClientFromConfig(node.Gateway, &config)
	must(t, err)
	t.Cleanup(client.Close)
	peer.do("dht-nodes", configuration(t, sections))
	ctx := soon(t)

	// The library's client stores.
	channelKey := randomKey(t)
	stored, err := library.StoreAddress(ctx, client, node.Gateway.GetAddressList(), node.secret)
	atLeastOne(t, stored, err)
	id := keys.PublicKeyED25519{Key: channelKey.Public().(ed25519.PublicKey)}
	address := boxed(t, nodeAddress{node.Gateway.GetID()})
	stored, err = library.Store(ctx, client, Record{id, paymentNode, dht.UpdateRuleSignature{}, address, channelKey})
	atLeastOne(t, stored, err)
	same(t, "the peer's address", peer.do("find-address", hex.EncodeToString(node.Gateway.GetID())), node.key()+" "+node.Address)
	same(t, "the peer's id", peer.do("find-payment-node", publicHex(channelKey)), hex.EncodeToString(node.Gateway.GetID()))

	// Ours does.
	channelKey = randomKey(t)
	peerID := keyID(peer.publicKey())
	peer.do("store-address", peer.seed, peer.Address)
	peer.do("store-payment-node", hex.EncodeToString(channelKey.Seed()), hex.EncodeToString(peerID))
	list, owner, err := client.FindAddresses(ctx, peerID)
	must(t, err)
	same(t, "our key", hex.EncodeToString(owner), peer.Key)
	if !bytes.Contains(boxed(t, *list), udp(t, peer.Address)) {
		t.Errorf("our address is not in %v", list)
	}
	value, _, err := client.FindValue(ctx, &dht.Key{ID: keyID(channelKey.Public()), Name: []byte(paymentNode)})
	must(t, err)
	same(t, "our id", hex.EncodeToString(value.Data), hex.EncodeToString(boxed(t, nodeAddress{peerID})))

	withoutOwner(t, library, client, peer)

	// Nobody did.
	_, _, err = client.FindValue(ctx, &dht.Key{ID: keyID(randomKey(t).Public()), Name: []byte(paymentNode)})
	if !errors.Is(err, dht.ErrDHTValueIsNotFound) {
		t.Errorf("the library's client finds what was never stored: %v", err)
	}
	if found, err := peer.try("find-payment-node", publicHex(randomKey(t))); err == nil {
		t.Errorf("our client finds what was never stored: %s", found)
	}
}

// withoutOwner has both clients take part in an overlay and see both, and one write what the other reads under a key that is anybody's.
func withoutOwner(t *testing.T, library Library, client *dht.Client, peer *Peer) {
	ctx := soon(t)
	name := randomKey(t).Seed()
	own := randomKey(t)
	member, err := overlay.NewNode(name, own)
	must(t, err)
	nodes := boxed(t, overlay.NodesList{List: []overlay.Node{*member}})
	stored, err := library.Store(ctx, client, Record{keys.PublicKeyOverlay{Key: name}, "nodes", dht.UpdateRuleOverlayNodes{}, nodes, nil})
	atLeastOne(t, stored, err)
	peer.do("join-overlay", peer.seed, hex.EncodeToString(name))
	want := []string{publicHex(own), peer.Key}
	slices.Sort(want)
	found := strings.Fields(peer.do("find-overlay", hex.EncodeToString(name)))
	slices.Sort(found)
	same(t, "the overlay, as we see it", strings.Join(found, " "), strings.Join(want, " "))
	list, _, err := client.FindOverlayNodes(ctx, name)
	must(t, err)
	found = nil
	for _, node := range list.List {
		found = append(found, hex.EncodeToString(node.ID.(keys.PublicKeyED25519).Key))
	}
	slices.Sort(found)
	same(t, "the overlay, as the library sees it", strings.Join(found, " "), strings.Join(want, " "))

	board := keys.PublicKeyUnEnc{Key: name}
	stored, err = library.Store(ctx, client, Record{board, "note", dht.UpdateRuleAnybody{}, []byte("theirs"), nil})
	atLeastOne(t, stored, err)
	same(t, "anybody's note", peer.do("find-note", hex.EncodeToString(name)), hex.EncodeToString([]byte("theirs")))
	peer.do("store-note", hex.EncodeToString(name), hex.EncodeToString([]byte("ours")))
	value, _, err := client.FindValue(ctx, &dht.Key{ID: hashOf(t, board), Name: []byte("note")})
	must(t, err)
	same(t, "anybody's next note", string(value.Data), "ours")
}

func hashOf(t *testing.T, object any) []byte {
	hash, err := tl.Hash(object)
	must(t, err)
	return hash
}

// configuration is a network's with these DHT sections, on one line without spaces.
func configuration(t *testing.T, sections []string) string {
	type dhtSection struct {
		StaticNodes struct {
			Nodes []json.RawMessage `json:"nodes"`
		} `json:"static_nodes"`
	}
	var all struct {
		DHT dhtSection `json:"dht"`
	}
	for _, text := range sections {
		var section dhtSection
		must(t, json.Unmarshal([]byte(text), &section))
		all.DHT.StaticNodes.Nodes = append(all.DHT.StaticNodes.Nodes, section.StaticNodes.Nodes...)
	}
	text, err := json.Marshal(all)
	must(t, err)
	return string(text)
}

// section is the DHT section of a configuration with one signed node of one address.
func section(t *testing.T, node *dht.Node) string {
	list := boxed(t, *node.AddrList)
	// After the list's own id and the count: one address's id, IP and port.
	ip, port := binary.LittleEndian.Uint32(list[12:]), binary.LittleEndian.Uint32(list[16:])
	type object = map[string]any
	text, err := json.Marshal(object{"static_nodes": object{"nodes": []any{object{
		"id": object{"@type": "pub.ed25519", "key": base64.StdEncoding.EncodeToString(node.ID.(keys.PublicKeyED25519).Key)},
		"addr_list": object{
			"addrs":   []any{object{"@type": "adnl.address.udp", "ip": int32(ip), "port": port}},
			"version": node.AddrList.Version, "reinit_date": node.AddrList.ReinitDate,
			"priority": node.AddrList.Priority, "expire_at": node.AddrList.ExpireAt,
		},
		"version":   node.Version,
		"signature": base64.StdEncoding.EncodeToString(node.Signature),
	}}}})
	must(t, err)
	return string(text)
}

// udp is an address as it stands in a list: IP and port.
func udp(t *testing.T, text string) []byte {
	parsed, err := netip.ParseAddrPort(text)
	must(t, err)
	ip := parsed.Addr().As4()
	bytes := binary.LittleEndian.AppendUint32(nil, binary.BigEndian.Uint32(ip[:]))
	return binary.LittleEndian.AppendUint32(bytes, uint32(parsed.Port()))
}

func boxed(t *testing.T, object any) []byte {
	bytes, err := tl.Serialize(object, true)
	must(t, err)
	return bytes
}

func atLeastOne(t *testing.T, stored int, err error) {
	t.Helper()
	must(t, err)
	if stored < 1 {
		t.Fatal("nobody stored it")
	}
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, not %s", what, got, want)
	}
}

func publicHex(key ed25519.PrivateKey) string {
	return hex.EncodeToString(key.Public().(ed25519.PublicKey))
}
