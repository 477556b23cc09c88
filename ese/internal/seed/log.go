package seed

import "math/rand/v2"

// Log is a log of version 8.
type Log struct {
	Generation  uint32
	Sectors     int // of 4096 bytes
	Segments    int // written
	Created     byte
	Previous    byte   // 0: none
	Sums        uint64 // of the log before
	MinorUpdate uint32
	Signature   string
	Database    string // signature of the attached one; empty: none
	NoShadow    bool
	Header      func(b []byte)
}

// Time is one of many.
func Time(n byte) []byte { return []byte{n % 60, 30, 12, 24, 12, 124, 1, 0} }

// Bytes is the log. Sum is what the next log says of it.
func (l Log) Bytes() (b []byte, sum uint64) {
	b = make([]byte, l.Sectors*4096)
	h := b[:4096]
	le.PutUint32(h[4:], l.Generation)
	le.PutUint16(h[8:], 4096)
	le.PutUint16(h[10:], 1)
	le.PutUint16(h[12:], uint16(l.Sectors))
	le.PutUint16(h[14:], 4096)
	copy(h[16:], Time(l.Created))
	if l.Previous != 0 {
		copy(h[24:], Time(l.Previous))
	}
	le.PutUint32(h[32:], 8)
	le.PutUint32(h[36:], 4000)
	le.PutUint32(h[40:], 5)
	copy(h[44:], Signature(l.Signature))
	copy(h[72:], `C:\Windows\system32\CertLog\`)
	copy(h[333:], `C:\Windows\system32\CertLog\`)
	le.PutUint32(h[648:], l.MinorUpdate)
	le.PutUint64(h[653:], l.Sums)
	le.PutUint32(h[667:], 3)
	if l.Database != "" {
		Attach(h[671:], l.Database)
	}
	if l.Header != nil {
		l.Header(h)
	}
	le.PutUint32(h, XOR(h))
	for i := 1; i <= l.Segments; i++ {
		seg := l.segment(i)
		copy(b[i*4096:], Seal(seg, uint32(i), false))
		sum ^= le.Uint64(b[i*4096:])
	}
	if at := l.Segments + 1; l.Segments > 0 && at < l.Sectors && !l.NoShadow {
		copy(b[at*4096:], Seal(l.segment(l.Segments), uint32(l.Segments), false))
	}
	return b, sum
}

func (l Log) segment(i int) []byte {
	b := make([]byte, 4096)
	le.PutUint16(b[10:], uint16(i))
	le.PutUint32(b[12:], l.Generation)
	copy(b[16:], Time(l.Created))
	r := rand.New(rand.NewPCG(uint64(l.Generation), uint64(i))) // what repeats would cancel out in sums
	for j := 40; j < len(b); j += 8 {
		le.PutUint64(b[j:], r.Uint64())
	}
	return b
}

// Attach writes the name of a database as logs and checkpoints have it.
func Attach(b []byte, signature string) {
	name := append(Text16(`C:\Windows\system32\CertLog\CA.edb`), 0, 0)
	b[0], b[1] = 1, 0x20
	le.PutUint16(b[2:], uint16(len(name)))
	copy(b[36:], Signature(signature))
	copy(b[64:], name)
}

// Checkpoint is a checkpoint in a generation, both copies.
func Checkpoint(generation uint32, signature, database string) []byte {
	b := make([]byte, 4096)
	le.PutUint16(b[14:], 3)
	le.PutUint32(b[16:], generation)
	copy(b[20:], Signature(signature))
	if database != "" {
		b[647] = 1
		Attach(b[679:], database)
	}
	le.PutUint32(b[667:], 4)
	le.PutUint32(b, XOR(b))
	return append(b, b...)
}
