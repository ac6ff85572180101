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
		pool := liteclient.NewConnectionPool()
		t.Cleanup(pool.Stop)
		ctx := soon(t)
		must(t, pool.AddConnectionsFromConfig(ctx, chain.config))
		payAndRead(t, ctx, chain, ton.NewAPIClient(pool, ton.ProofCheckPolicyFast))
	})
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

// scan reads every block of a range as the payment node's block scanner does, and each shard block's transactions with proof;
// how often it meets a transaction.
func scan(t *testing.T, ctx context.Context, api *ton.APIClient, from uint32, to *ton.BlockIDExt, wanted *tlb.Transaction) int {
	t.Helper()
	found := 0
	seen := map[uint32]bool{}
	for seqno := from; seqno <= to.SeqNo; seqno++ {
		master, err := api.LookupBlock(ctx, -1, masterchain, seqno)
		must(t, err)
		shards, err := api.GetBlockShardsInfo(ctx, master)
		must(t, err)
		for _, shard := range shards {
			if seen[shard.SeqNo] {
				continue
			}
			seen[shard.SeqNo] = true
			_, err := api.GetBlockData(ctx, shard)
			must(t, err)
			transactions, incomplete, err := api.GetBlockTransactionsV2(ctx, shard, 100)
			must(t, err)
			if incomplete {
				t.Errorf("block %d has more than 100 transactions", shard.SeqNo)
			}
			for _, short := range transactions {
				whole, err := api.GetTransaction(ctx, shard, address.NewAddress(0, 0, short.Account), short.LT)
				must(t, err)
				if bytes.Equal(whole.Hash, wanted.Hash) {
					found++
				}
			}
		}
	}
	return found
}
