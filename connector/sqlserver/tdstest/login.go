package tdstest

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// Answers about encryption in PRELOGIN.
const (
	preloginEncryption = 1
	preloginEnd        = 0xff

	encryptionOn           = 1
	encryptionNotSupported = 2

	tlsHandshake = 0x16
)

const (
	tds74 = 0x74000004
	tds80 = 0x08000000
)

// login does PRELOGIN, TLS and LOGIN7.
func (s *session) login() error {
	buffered := &peeked{Conn: s.conn, r: bufio.NewReader(s.conn)}
	first, err := buffered.r.Peek(1)
	if err != nil {
		return err
	}
	s.rw = buffered
	strict := first[0] == tlsHandshake
	if strict {
		if s.tls() == nil {
			return errors.New("no TLS")
		}
		s.rw = tls.Server(buffered, s.tls())
	}
	m, err := readMessage(s.rw)
	if err != nil || m.kind != packetPrelogin {
		return errors.Join(err, errors.New("no PRELOGIN"))
	}
	encryption := byte(encryptionNotSupported)
	if s.tls() != nil && !strict && preloginOption(m.data) != encryptionNotSupported {
		encryption = encryptionOn
	}
	if err := s.preloginReply(encryption); err != nil {
		return err
	}
	if encryption == encryptionOn {
		inside := &handshake{Conn: buffered, session: s, inside: true}
		conn := tls.Server(inside, s.tls())
		if err := conn.Handshake(); err != nil {
			return err
		}
		inside.inside = false
		s.rw = conn
	}
	if m, err = readMessage(s.rw); err != nil || m.kind != packetLogin {
		return errors.Join(err, errors.New("no LOGIN7"))
	}
	return s.authenticate(m.data, strict)
}

func (s *session) tls() *tls.Config { return s.server.tls }

// preloginOption is what the client says about encryption.
func preloginOption(data []byte) byte {
	for i := 0; i+5 <= len(data) && data[i] != preloginEnd; i += 5 {
		if offset := int(binary.BigEndian.Uint16(data[i+1:])); data[i] == preloginEncryption && offset < len(data) {
			return data[offset]
		}
	}
	return encryptionNotSupported
}

func (s *session) preloginReply(encryption byte) error {
	w := newWriter(s.rw, s.packet)
	const size = 2*5 + 1
	_, _ = w.Write([]byte{0, 0, size, 0, 6, preloginEncryption, 0, size + 6, 0, 1, preloginEnd, 13, 0, 0, 0, 0, 0, encryption})
	return w.finish()
}

// handshake carries a TLS handshake inside of PRELOGIN packets, and what follows it as it is.
type handshake struct {
	net.Conn
	session *session
	inside  bool
	rest    []byte
}

// Read implements net.Conn.
func (h *handshake) Read(b []byte) (int, error) {
	if len(h.rest) == 0 && !h.inside {
		return h.Conn.Read(b)
	}
	if len(h.rest) == 0 {
		m, err := readMessage(h.Conn)
		if err != nil {
			return 0, err
		}
		h.rest = m.data
	}
	n := copy(b, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (h *handshake) Write(b []byte) (int, error) {
	if !h.inside {
		return h.Conn.Write(b)
	}
	w := newWriter(h.Conn, h.session.packet)
	w.kind = packetPrelogin
	_, _ = w.Write(b)
	return len(b), w.finish()
}

// Offsets of LOGIN7.
const (
	loginPacketSize = 8
	loginUser       = 40
	loginPassword   = 44
	loginApp        = 48
	loginDatabase   = 68
)

func loginText(data []byte, at int) []byte {
	if at+4 > len(data) {
		return nil
	}
	start, n := int(binary.LittleEndian.Uint16(data[at:])), 2*int(binary.LittleEndian.Uint16(data[at+2:]))
	if start+n > len(data) {
		return nil
	}
	return data[start : start+n]
}

// authenticate checks user, password and database, and answers.
func (s *session) authenticate(data []byte, strict bool) error {
	if len(data) < loginDatabase+4 {
		return io.ErrUnexpectedEOF
	}
	password := append([]byte{}, loginText(data, loginPassword)...)
	for i, b := range password {
		b ^= 0xa5
		password[i] = b<<4 | b>>4
	}
	user, name := fromUCS2(loginText(data, loginUser)), fromUCS2(loginText(data, loginDatabase))
	s.app = fromUCS2(loginText(data, loginApp))
	if name == "" {
		name = "master"
	}
	w := newWriter(s.rw, s.packet)
	refuse := func(list ...*Error) error {
		for _, e := range list {
			w.fail(e)
		}
		w.done(tokenDone, doneError, 0)
		return errors.Join(w.finish(), list[len(list)-1])
	}
	failed := &Error{Number: 18456, State: 1, Class: 14, Text: fmt.Sprintf("Login failed for user '%s'.", user)}
	if user != User || fromUCS2(password) != Password {
		return refuse(failed)
	}
	d, ok := s.server.database(name)
	if !ok {
		return refuse(&Error{Number: 4060, State: 1, Class: 11, Text: fmt.Sprintf(`Cannot open database "%s" requested by the login. The login failed.`, name)}, failed)
	}
	conn, err := d.db.Conn(s.ctx)
	if err != nil {
		return err
	}
	s.server.mu.Lock()
	s.database = d
	s.server.mu.Unlock()
	s.sqlite = conn
	version := uint32(tds74)
	if strict {
		version = tds80
	}
	size := int(binary.LittleEndian.Uint32(data[loginPacketSize:]))
	w.envText(envDatabase, name, "master")
	w.loginAck(version)
	w.envText(envPacketSize, strconv.Itoa(size), strconv.Itoa(s.packet))
	w.done(tokenDone, 0, 0)
	s.packet = size
	if err := w.finish(); err != nil {
		s.end()
		return err
	}
	return nil
}
