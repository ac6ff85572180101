package rows

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/ton/wallet"
)

// Row 13: lite servers. Our client with the library's server; the library's pool, `ton` client and wallet with our devnet.
func liteServers(t *testing.T, library Library) {
	t.Run("our client", func(t *testing.T) { theirLiteServer(t, library) })
	t.Run("our server", func(t *testing.T) {
		chain := startChain(t)
		ctx := soon(t)
		payAndRead(t, ctx, chain, ton.NewAPIClient(connected(t, ctx, chain), ton.ProofCheckPolicyFast))
	})
}

// Row 17: as the second half of row 13, with blocks believed by the validator's signatures alone, from the block that the configuration
// names; a client that was told to trust another block believes none.
func secureClient(t *testing.T, _ Library) {
	chain := startChain(t)
	ctx := soon(t)
	pool := connected(t, ctx, chain)
	api := ton.NewAPIClient(pool, ton.ProofCheckPolicySecure)
	api.SetTrustedBlockFromConfig(chain.config)
	payAndRead(t, ctx, chain, api)

	// Backwards too: the block behind the trusted one has a state that names all before it.
	first := ton.BlockIDExt(chain.config.Validator.InitBlock)
	newest, err := api.GetMasterchainInfo(ctx)
	must(t, err)
	must(t, api.VerifyProofChain(ctx, &first, newest))
	must(t, api.VerifyProofChain(ctx, newest, &first))

	other := startChain(t)
	foreign := ton.NewAPIClient(connected(t, ctx, other), ton.ProofCheckPolicySecure)
	foreign.SetTrustedBlock(newest)
	if block, err := foreign.GetMasterchainInfo(ctx); err == nil {
		t.Errorf("block %d of another chain is believed", block.SeqNo)
	}
	forged := newest.Copy()
	forged.FileHash[0] ^= 1
	if err := api.VerifyProofChain(ctx, &first, forged); err == nil {
		t.Error("a block that nobody signed is believed")
	}
}

// connected is the library's pool with all lite servers of a chain.
func connected(t *testing.T, ctx context.Context, chain *chain) *liteclient.ConnectionPool {
	pool := liteclient.NewConnectionPool()
	t.Cleanup(pool.Stop)
	must(t, pool.AddConnectionsFromConfig(ctx, chain.config))
	return pool
}

func theirLiteServer(t *testing.T, library Library) {
	const seqno = 77
	key := randomKey(t)
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	at := socket.Addr().String()
	must(t, socket.Close())
	hash := make([]byte, 32)
	info := ton.MasterchainInfo{
		Last:          &ton.BlockIDExt{Workchain: -1, Shard: masterchain, SeqNo: seqno, RootHash: hash, FileHash: hash},
		StateRootHash: hash,
		Init:          &ton.ZeroStateIDExt{Workchain: -1, RootHash: hash, FileHash: hash},
	}
	library.ServeLite(t, key, at, func(query tl.Serializable) tl.Serializable {
		// A query behind a prefix comes as a list of both.
		if list, is := query.([]tl.Serializable); is {
			query = list[len(list)-1]
		}
		if _, is := query.(ton.GetMasterchainInf); is {
			return info
		}
		return ton.LSError{Code: -400, Text: "unexpected query"}
	})
	peer := startPeer(t)
	until(t, "the server answers", func() bool {
		read, err := peer.try("lite", at, publicHex(key))
		if err != nil {
			t.Log(err)
		}
		return err == nil && read == "77"
	})
}

const masterchain = -1 << 63

// payAndRead deploys a wallet, pays with it, and reads all that came of it with proofs.
func payAndRead(t *testing.T, ctx context.Context, chain *chain, api *ton.APIClient) {
	payer, err := wallet.FromPrivateKey(api.WithRetry(2), randomKey(t), wallet.V3R2)
	must(t, err)
	payee := address.NewAddress(0, 0, keyID(randomKey(t).Public())).Bounce(false)
	chain.faucet(payer.WalletAddress(), "10000000000")
	funded, err := api.CurrentMasterchainInfo(ctx)
	must(t, err)
	balance(t, ctx, api, funded, payer.WalletAddress(), "10")

	sent, block, err := payer.TransferWaitTransaction(ctx, payee, tlb.MustFromTON("1"), "row 13")
	must(t, err)
	block, err = api.WaitForBlock(block.SeqNo + 2).GetMasterchainInfo(ctx)
	must(t, err)
	balance(t, ctx, api, block, payee, "1")
	result, err := api.RunGetMethod(ctx, block, payer.WalletAddress(), "seqno")
	must(t, err)
	if seqno := result.MustInt(0).Int64(); seqno != 1 {
		t.Errorf("the wallet's seqno is %d", seqno)
	}
	nobody, err := api.GetAccount(ctx, block, address.NewAddress(0, 0, keyID(randomKey(t).Public())))
	must(t, err)
	if nobody.IsActive {
		t.Error("an account that never was is active")
	}

	account, err := api.GetAccount(ctx, block, payer.WalletAddress())
	must(t, err)
	history, err := api.ListTransactions(ctx, payer.WalletAddress(), 10, account.LastTxLT, account.LastTxHash)
	must(t, err)
	if len(history) != 2 || !bytes.Equal(history[1].Hash, sent.Hash) {
		t.Errorf("the wallet has %d transactions, and the newest is not ours", len(history))
	}
	_, err = api.GetBlockchainConfig(ctx, block)
	must(t, err)
	if found := scan(t, ctx, api, funded.SeqNo, block, sent); found != 1 {
		t.Errorf("the scan of all blocks finds the payment %d times", found)
	}
}

func balance(t *testing.T, ctx context.Context, api *ton.APIClient, block *ton.BlockIDExt, of *address.Address, want string) {
	t.Helper()
	account, err := api.GetAccount(ctx, block, of)
	must(t, err)
	same(t, "the balance", account.State.Balance.String(), want)
}

// scan reads every block of a range as the payment node's block scanner does: what each masterchain block names and what lies behind that,
// each shard block's transactions with proof, and every account that one touched; how often it meets a transaction.
func scan(t *testing.T, ctx context.Context, api *ton.APIClient, from uint32, to *ton.BlockIDExt, wanted *tlb.Transaction) int {
	t.Helper()
	found := 0
	seen := map[uint32]bool{}
	for seqno := from; seqno <= to.SeqNo; seqno++ {
		master, err := api.LookupBlock(ctx, -1, masterchain, seqno)
		must(t, err)
		shards, err := api.GetBlockShardsInfo(ctx, master)
		must(t, err)
		for len(shards) > 0 {
			shard := shards[0]
			shards = shards[1:]
			if seen[shard.SeqNo] {
				continue
			}
			seen[shard.SeqNo] = true
			block, err := api.GetBlockData(ctx, shard)
			must(t, err)
			if seqno > from {
				parents, err := ton.GetParentBlocks(&block.BlockInfo)
				must(t, err)
				shards = append(shards, parents...)
			}
			for _, transaction := range transactions(t, ctx, api, shard) {
				if bytes.Equal(transaction.Hash, wanted.Hash) {
					found++
				}
				touched := address.NewAddress(0, 0, transaction.AccountAddr)
				account, err := api.WaitForBlock(seqno).GetAccount(ctx, master, touched)
				must(t, err)
				if account.LastTxLT < transaction.LT {
					t.Errorf("masterchain block %d has account %s older than its transaction", seqno, touched)
				}
			}
		}
	}
	return found
}

// transactions reads those of a block, each with its proof.
func transactions(t *testing.T, ctx context.Context, api *ton.APIClient, block *ton.BlockIDExt) []*tlb.Transaction {
	t.Helper()
	list, incomplete, err := api.GetBlockTransactionsV2(ctx, block, 100)
	must(t, err)
	if incomplete {
		t.Errorf("block %d has more than 100 transactions", block.SeqNo)
	}
	whole := make([]*tlb.Transaction, len(list))
	for i, short := range list {
		whole[i], err = api.GetTransaction(ctx, block, address.NewAddress(0, 0, short.Account), short.LT)
		must(t, err)
	}
	return whole
}
