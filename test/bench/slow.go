package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// slowLink listens for connections to an address and lets so many bytes a second pass to it, over all of them together.
// What comes back is not slowed down. It returns where it listens.
func slowLink(h *host, to string, bytesPerSecond int) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	pace := &pace{each: time.Second / time.Duration(bytesPerSecond>>10)}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			conns.Go(func() {
				_, _ = io.CopyBuffer(struct{ io.Writer }{pacedWriter{out, pace}}, struct{ io.Reader }{in}, make([]byte, 32<<10))
				_ = errors.Join(in.Close(), out.Close())
			})
			conns.Go(func() {
				_, _ = io.Copy(in, out)
				_ = errors.Join(in.Close(), out.Close())
			})
		}
	})
	h.Cleanup(func() { _ = l.Close() }) // Connections end with the clients, which are closed after it.
	return l.Addr().String(), nil
}

// pace says when the next bytes may pass.
type pace struct {
	// each is the time that a KiB takes.
	each time.Duration
	mu   sync.Mutex
	next time.Time
}

func (p *pace) wait(n int) {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(p.each * time.Duration(n) / (1 << 10))
	at := p.next
	p.mu.Unlock()
	time.Sleep(time.Until(at))
}

type pacedWriter struct {
	io.Writer
	pace *pace
}

// Write implements io.Writer.
func (w pacedWriter) Write(p []byte) (int, error) {
	w.pace.wait(len(p))
	return w.Writer.Write(p)
}
