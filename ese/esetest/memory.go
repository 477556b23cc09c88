package esetest

import "io"

// Memory is a file in memory, for Create. Reading behind its end is io.EOF.
type Memory struct{ b []byte }

// WriteAt makes the file longer if it has to.
func (m *Memory) WriteAt(b []byte, off int64) (int, error) {
	if end := off + int64(len(b)); end > int64(len(m.b)) {
		if end > int64(cap(m.b)) {
			grown := make([]byte, len(m.b), max(end, 2*int64(cap(m.b))))
			copy(grown, m.b)
			m.b = grown
		}
		m.b = m.b[:end]
	}
	return copy(m.b[off:], b), nil
}

// ReadAt reads.
func (m *Memory) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(b, m.b[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Bytes is what was written, to be changed at will.
func (m *Memory) Bytes() []byte { return m.b }
