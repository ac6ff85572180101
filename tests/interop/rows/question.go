package rows

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/xssnick/tonutils-go/tl"
)

func init() {
	tl.Register(Ask{}, "interop.ask number:long answer_size:int data:bytes = interop.Told")
	tl.Register(Told{}, "interop.told number:long times:int digest:int256 data:bytes = interop.Told")
}

// Ask asks for so many bytes, and whether Data arrived. The Rust peer has the same (`peer/src/question.rs`).
type Ask struct {
	Number     uint64 `tl:"long"`
	AnswerSize uint32 `tl:"int"`
	Data       []byte `tl:"bytes"`
}

// Told is the answer: how often this number was asked, the SHA-256 of the data, and filler.
type Told struct {
	Number uint64 `tl:"long"`
	Times  uint32 `tl:"int"`
	Digest []byte `tl:"int256"`
	Data   []byte `tl:"bytes"`
}

func newAsk(number uint64, answerSize, dataSize int) Ask {
	return Ask{Number: number, AnswerSize: uint32(answerSize), Data: filler(number, dataSize)}
}

// check says how often the question was executed, if the answer is the right one.
func (a Ask) check(told Told) (uint32, error) {
	digest := sha256.Sum256(a.Data)
	switch {
	case told.Number != a.Number:
		return 0, fmt.Errorf("the answer is to %d", told.Number)
	case !bytes.Equal(told.Digest, digest[:]):
		return 0, fmt.Errorf("the question did not arrive as it was sent")
	case !bytes.Equal(told.Data, filler(a.Number, int(a.AnswerSize))):
		return 0, fmt.Errorf("the answer did not arrive as it should")
	}
	return told.Times, nil
}

// teller executes questions, and counts how often each was.
type teller struct {
	mutex    sync.Mutex
	executed map[uint64]uint32
}

func (t *teller) tell(ask Ask) Told {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.executed == nil {
		t.executed = map[uint64]uint32{}
	}
	t.executed[ask.Number]++
	digest := sha256.Sum256(ask.Data)
	return Told{ask.Number, t.executed[ask.Number], digest[:], filler(ask.Number, int(ask.AnswerSize))}
}

// filler is bytes without repetition, so that swapped or doubled slices show.
func filler(number uint64, size int) []byte {
	x := uint32(number)
	data := make([]byte, size)
	for i := range data {
		x = x*1103515245 + 12345
		data[i] = byte(x >> 16)
	}
	return data
}
