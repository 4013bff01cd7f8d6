package engine

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// maxMessage bounds a message in either direction, in bytes.
const maxMessage = 64 << 20

// request is a job on its way to a child.
type request struct {
	Dir   string `json:"dir"`
	Steps []Step `json:"steps"`
	// Threads and DisabledOptimizers as the job says.
	Threads            int      `json:"threads"`
	DisabledOptimizers []string `json:"disabledOptimizers"`
	// CPUSeconds is what the job may use before the kernel ends the child: a backstop should the parent be stopped.
	CPUSeconds uint64 `json:"cpuSeconds"`
}

// response is a child's answer: to its start with Version alone, to a job with the outcome.
type response struct {
	Version string       `json:"version,omitempty"`
	Steps   []StepResult `json:"steps,omitempty"`
	Error   *Error       `json:"error,omitempty"`
	// PeakBytes and RSSBytes are resident sizes: the highest, and after the instance was closed. VirtualBytes is the address
	// space in use then.
	PeakBytes    int64         `json:"peakBytes,omitempty"`
	RSSBytes     int64         `json:"rssBytes,omitempty"`
	VirtualBytes int64         `json:"virtualBytes,omitempty"`
	Wall         time.Duration `json:"wall,omitempty"`
}

// writeMessage writes v as JSON after its length.
func writeMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return fmt.Errorf("message of %d bytes is larger than %d", len(body), maxMessage)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// readMessage reads what writeMessage wrote.
func readMessage(r *bufio.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessage {
		return fmt.Errorf("message of %d bytes is larger than %d", size, maxMessage)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
