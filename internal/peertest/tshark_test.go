package peertest

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// dissection is what Wireshark's dissectors made of one frame.
type dissection map[string]string

// The fields that are asked for. Within a frame, the values of a field are
// joined by commas, one for each PDU that has it.
var dissectionFields = []string{
	"frame.number", "frame.protocols", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message",
	"dcerpc.pkt_type", "dcerpc.cn_call_id", "dcerpc.auth_type", "dcerpc.auth_level", "dcerpc.opnum",
	"dcerpc.encrypted_stub_data", "dcerpc.decrypted_stub_data", "dcerpc.cn_status", "dcerpc.reassembled.length",
}

// tshark dissects a capture with these options, which say how to decrypt it.
func tshark(t *testing.T, r *recorder, options ...string) []dissection {
	t.Helper()
	r.flush(t)
	args := append([]string{"-n", "-r", r.Path, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=/t"}, options...)
	for _, f := range dissectionFields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(needProgram(t, "tshark", "tshark"), args...)
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

// judge fails the test for whatever the dissectors could not make sense of or
// not decrypt, and returns how many frames each protocol was found in, and how
// many sealed PDUs were opened.
func judge(t *testing.T, frames []dissection, tolerated ...string) (protocols map[string]int, opened int) {
	t.Helper()
	protocols = map[string]int{}
	count := func(d dissection, field string) int {
		if d[field] == "" {
			return 0
		}
		return strings.Count(d[field], ",") + 1
	}
	bad := 0
	for _, d := range frames {
		seen := map[string]bool{}
		for p := range strings.SplitSeq(d["frame.protocols"], ":") {
			if !seen[p] {
				seen[p] = true
				protocols[p]++
			}
		}
		var why []string
		if d["_ws.malformed"] != "" {
			why = append(why, "malformed")
		}
		for s := range strings.SplitSeq(d["_ws.expert.severity"], ",") {
			if n, _ := strconv.Atoi(s); n >= expertWarning && !tolerable(d["_ws.expert.message"], tolerated) {
				why = append(why, "expert says: "+d["_ws.expert.message"])
			}
		}
		sealed, open := count(d, "dcerpc.encrypted_stub_data"), count(d, "dcerpc.decrypted_stub_data")
		if open < sealed {
			why = append(why, strconv.Itoa(sealed-open)+" sealed stubs stay closed")
		}
		opened += open
		if len(why) > 0 {
			if bad++; bad <= 10 {
				t.Errorf("frame %s (%s; PDU types %s, calls %s, opnums %s): %s", d["frame.number"], d["frame.protocols"],
					d["dcerpc.pkt_type"], d["dcerpc.cn_call_id"], d["dcerpc.opnum"], strings.Join(why, "; "))
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d frames were not dissected whole", bad, len(frames))
	}
	return protocols, opened
}

func tolerable(message string, tolerated []string) bool {
	for _, s := range tolerated {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}
