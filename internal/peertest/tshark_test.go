package peertest

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
)

// dissection is what Wireshark's dissectors made of one frame.
type dissection map[string]string

// The fields that are asked for. Within a frame, the values of a field are
// joined by commas, one for each PDU that has it.
var dissectionFields = []string{
	"frame.number", "frame.protocols", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message",
	"dcerpc.pkt_type", "dcerpc.cn_call_id", "dcerpc.auth_type", "dcerpc.auth_level", "dcerpc.opnum",
	"dcerpc.cn_frag_len", "dcerpc.encrypted_stub_data", "dcerpc.decrypted_stub_data", "dcerpc.reassembled.length",
	"spnego.mechListMIC", "_ws.col.Protocol", "_ws.col.Info",
}

// tshark dissects a capture with these options, which say how to decrypt it.
func tshark(t *testing.T, r *recorder, options ...string) []dissection {
	t.Helper()
	r.flush(t)
	args := append([]string{"-n", "-r", r.Path, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=/t"}, options...)
	for _, f := range dissectionFields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(need.Program(t, "tshark", "tshark"), args...)
	// No user's settings, and none written.
	cmd.Env = append(os.Environ(), "HOME="+scratch(t), "XDG_CONFIG_HOME="+scratch(t))
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, talk.Bytes())
	}
	var frames []dissection
	for line := range strings.Lines(string(out)) {
		values := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(values) != len(dissectionFields) {
			t.Fatalf("tshark printed %d columns: %.300q", len(values), line)
		}
		d := dissection{}
		for i, f := range dissectionFields {
			d[f] = values[i]
		}
		frames = append(frames, d)
	}
	if len(frames) == 0 {
		t.Fatal("tshark found no frames")
	}
	return frames
}

// Severities of Wireshark's expert information.
const (
	expertWarning = 0x600000
	expertError   = 0x800000
)

// wellFormed fails the test for whatever the dissectors could not make sense of,
// warnings that contain one of the tolerated words excepted.
func wellFormed(t *testing.T, frames []dissection, tolerated ...string) {
	t.Helper()
	bad := 0
	for _, d := range frames {
		worst := 0
		for s := range strings.SplitSeq(d["_ws.expert.severity"], ",") {
			n, _ := strconv.Atoi(s)
			worst = max(worst, n)
		}
		tolerable := worst < expertWarning
		for _, s := range tolerated {
			tolerable = tolerable || worst == expertWarning && strings.Contains(d["_ws.expert.message"], s)
		}
		if tolerable && d["_ws.malformed"] == "" || d.short() {
			continue
		}
		if bad++; bad <= 10 {
			t.Errorf("frame %s (%s %s): %s %s", d["frame.number"], d["_ws.col.Protocol"], d["_ws.col.Info"], d["_ws.malformed"], d["_ws.expert.message"])
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d frames are not well-formed", bad, len(frames))
	}
}

// short says that this is a sealed request with less than 16 octets of stub,
// such as ServerAlive's, which has none, or SimplePing's, which has eight:
// Wireshark 4.0 finds those malformed, whoever sent them.
func (d dissection) short() bool {
	n, err := strconv.Atoi(d["dcerpc.cn_frag_len"])
	return err == nil && n < 24+16+8+16 && d["dcerpc.pkt_type"] == "0" && d["dcerpc.auth_level"] == "6"
}

// opened fails the test for sealed messages that were not decrypted: neither to
// octets nor, where Wireshark knows the interface, to its parameters. It returns
// how many there were.
func opened(t *testing.T, frames []dissection) (n int) {
	t.Helper()
	for _, d := range frames {
		if d["dcerpc.encrypted_stub_data"] == "" {
			continue
		}
		n++
		if d["dcerpc.decrypted_stub_data"] == "" && d["_ws.col.Protocol"] == "DCERPC" {
			t.Errorf("frame %s (%s) stays closed", d["frame.number"], d["_ws.col.Info"])
		}
	}
	return n
}
