package rows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/liteclient"
)

// chain is our devnet as a process.
type chain struct {
	t       *testing.T
	control string
	config  *liteclient.GlobalConfig
}

// startChain starts a new chain with two lite servers; it ends with the test, or with us.
func startChain(t *testing.T) *chain {
	command := exec.Command(program(t, "causeway-devnet"), "--data-dir", t.TempDir(), "--block-interval-ms", "250")
	command.Env = append(os.Environ(), "RUST_LOG=warn")
	command.Stderr = os.Stderr
	endWithParent(command)
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		command.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(patience, func() { command.Process.Kill() })
		command.Wait()
		kill.Stop()
	})
	line, err := bufio.NewReader(output).ReadBytes('\n')
	must(t, err)
	var ready struct {
		Control      string `json:"control"`
		GlobalConfig string `json:"global_config"`
	}
	must(t, json.Unmarshal(line, &ready))
	config, err := liteclient.GetConfigFromFile(ready.GlobalConfig)
	must(t, err)
	return &chain{t, ready.Control, config}
}

// faucet puts coins on an address.
func (c *chain) faucet(to *address.Address, nano string) {
	c.t.Helper()
	raw := fmt.Sprintf("%d:%x", to.Workchain(), to.Data())
	body, err := json.Marshal(map[string]string{"address": raw, "nano": nano})
	must(c.t, err)
	answer, err := http.Post("http://"+c.control+"/faucet", "application/json", bytes.NewReader(body))
	must(c.t, err)
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		c.t.Fatalf("faucet: %s: %s", answer.Status, text)
	}
}
