package peertest

import (
	"bufio"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// recorder writes what passes over connections as a capture file, as if it had
// been seen on a wire. Nothing is lost and no right to capture is needed, and a
// connection's first octet is always there, without which nothing can be
// decrypted.
type recorder struct {
	Path string

	mu    sync.Mutex
	file  *os.File
	out   *bufio.Writer
	err   error
	now   time.Time // of the last packet: times never go back
	conns uint16
}

// linkRaw says that a packet begins with its IP header.
const linkRaw = 101

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	path := filepath.Join(scratch(t), "session.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{Path: path, file: f, out: bufio.NewWriter(f), now: time.Now()}
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = binary.LittleEndian.AppendUint16(head, 2)
	head = binary.LittleEndian.AppendUint16(head, 4)
	head = append(head, make([]byte, 8)...)
	head = binary.LittleEndian.AppendUint32(head, 65535)
	head = binary.LittleEndian.AppendUint32(head, linkRaw)
	r.out.Write(head)
	t.Cleanup(func() { f.Close() })
	return r
}

// flush completes the file; later packets may follow.
func (r *recorder) flush(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.out.Flush(); err != nil {
		t.Fatal(err)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
}

// listen records what the accepted connections of l carry, as if l listened on
// this port.
func (r *recorder) listen(l net.Listener, port uint16) net.Listener {
	return &recordingListener{l, r, port}
}

type recordingListener struct {
	net.Listener
	r    *recorder
	port uint16
}

func (l *recordingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.r.conns++
	rc := &recordedConn{Conn: c, r: l.r, ports: [2]uint16{40000 + l.r.conns, l.port}, seq: [2]uint32{1000, 2000}}
	rc.packet(0, synFlag, nil)
	rc.packet(1, synFlag|ackFlag, nil)
	rc.packet(0, ackFlag, nil)
	return rc, nil
}

// recordedConn is the server's end: what it reads came from side 0, the client.
type recordedConn struct {
	net.Conn
	r     *recorder
	ports [2]uint16
	seq   [2]uint32
	part  [2][]byte // of a PDU whose end has not come yet
}

func (c *recordedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.record(0, b[:n])
	return n, err
}

// Write records before it writes, so that the answer to these octets cannot be
// recorded before them.
func (c *recordedConn) Write(b []byte) (int, error) {
	c.record(1, b)
	return c.Conn.Write(b)
}

// record writes whole PDUs, each in a packet of its own: Wireshark keeps one
// sealed message a packet, and decrypts no second one.
func (c *recordedConn) record(side int, b []byte) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	part := append(c.part[side], b...)
	for len(part) >= 10 {
		n := int(binary.LittleEndian.Uint16(part[8:])) // frag_length
		if n < 10 || n > len(part) {
			break
		}
		c.packet(side, ackFlag|pshFlag, part[:n])
		part = part[n:]
	}
	c.part[side] = append([]byte(nil), part...)
}

const (
	synFlag = 0x02
	pshFlag = 0x08
	ackFlag = 0x10
)

// packet writes one segment; the recorder's lock is held.
func (c *recordedConn) packet(side int, flags byte, data []byte) {
	const headers = 20 + 20
	hosts := [2][4]byte{{127, 0, 0, 2}, {127, 0, 0, 1}}
	p := make([]byte, headers, headers+len(data))
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(headers+len(data)))
	p[8], p[9] = 64, 6
	copy(p[12:], hosts[side][:])
	copy(p[16:], hosts[1-side][:])
	tcp := p[20:]
	binary.BigEndian.PutUint16(tcp, c.ports[side])
	binary.BigEndian.PutUint16(tcp[2:], c.ports[1-side])
	binary.BigEndian.PutUint32(tcp[4:], c.seq[side])
	if flags&ackFlag != 0 {
		binary.BigEndian.PutUint32(tcp[8:], c.seq[1-side])
	}
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	p = append(p, data...)
	c.seq[side] += uint32(len(data))
	if flags&synFlag != 0 {
		c.seq[side]++
	}

	if now := time.Now(); now.After(c.r.now) {
		c.r.now = now
	}
	h := binary.LittleEndian.AppendUint32(nil, uint32(c.r.now.Unix()))
	h = binary.LittleEndian.AppendUint32(h, uint32(c.r.now.Nanosecond()/1000))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(p)))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(p)))
	if _, err := c.r.out.Write(append(h, p...)); err != nil && c.r.err == nil {
		c.r.err = err
	}
}
