package csra

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// direction is whose PDUs a tap sees.
type direction int

const (
	toServer direction = iota
	toClient
)

// tap is a proxy between clients and one port of a server, which hands every PDU
// to a function before it goes on.
type tap struct {
	port int

	mu    sync.Mutex
	see   func(d direction, n int, pdu []byte) (instead []byte, cut bool)
	saved [2][][]byte // the PDUs of the last connection, as they came
}

// tapPort makes one. see gets the n-th PDU of a connection's direction, and says
// what to send instead, and whether to cut the connection after that; nil passes
// on everything.
func tapPort(t testing.TB, server int, see func(d direction, n int, pdu []byte) ([]byte, bool)) *tap {
	l := listen(t)
	p := &tap{port: port(l.Addr()), see: see}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.relay(c, server) })
		}
	}()
	return p
}

func (p *tap) relay(client net.Conn, server int) {
	defer client.Close()
	s, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: server})
	if err != nil {
		return
	}
	defer s.Close()
	p.mu.Lock()
	p.saved = [2][][]byte{}
	p.mu.Unlock()
	var wait sync.WaitGroup
	one := func(d direction, to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		for n := 0; ; n++ {
			pdu, err := readPDU(from)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.saved[d] = append(p.saved[d], append([]byte(nil), pdu...))
			see, cut := p.see, false
			p.mu.Unlock()
			if see != nil {
				pdu, cut = see(d, n, pdu)
			}
			if _, err := to.Write(pdu); err != nil || cut {
				return
			}
		}
	}
	wait.Go(func() { one(toServer, s, client) })
	wait.Go(func() { one(toClient, client, s) })
	wait.Wait()
}

// pdus returns what the last connection sent in a direction.
func (p *tap) pdus(d direction) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved[d]
}

func readPDU(r io.Reader) ([]byte, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	pdu := append(head, make([]byte, max(0, int(binary.LittleEndian.Uint16(head[8:]))-16))...)
	_, err := io.ReadFull(r, pdu[16:])
	return pdu, err
}

// exporter are a client's connections that go through the tap to the server's
// exporter.
func (p *tap) exporter(s *served) *lifeline {
	return &lifeline{through: func(port int) int {
		if port == s.exporter {
			return p.port
		}
		return port
	}}
}
