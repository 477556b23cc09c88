package main

import (
	"fmt"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
)

// tracer prints the calls of the procedure as they return, for --trace.
func (c *console) tracer(on bool) func(backup.Call) {
	if !on {
		return nil
	}
	return func(call backup.Call) {
		if c.json {
			c.line(traceLine{Call: call.Op, Argument: call.Argument, Result: fmt.Sprintf("0x%08X", uint32(call.Code)), //nolint:errcheck // the result's own printing fails likewise
				Microseconds: call.Duration.Microseconds(), Bytes: call.Bytes, Items: call.Items})
			return
		}
		s := fmt.Sprintf("%-34s %-10s %8s", call.Op, fmt.Sprintf("0x%08X", uint32(call.Code)), took(call.Duration))
		if call.Bytes > 0 {
			s += "  " + size(call.Bytes)
		}
		if call.Items > 0 {
			s += "  " + plural(call.Items, "name", "names")
		}
		if call.Argument != "" {
			s += "  " + call.Argument
		}
		if call.Code != certadm.SOK {
			s += "  " + call.Code.String()
		}
		fmt.Fprintln(c.stderr, oneLine(s))
	}
}

type traceLine struct {
	Call         string `json:"call"`
	Argument     string `json:"argument,omitempty"`
	Result       string `json:"result"`
	Microseconds int64  `json:"microseconds"`
	Bytes        int64  `json:"bytes,omitempty"`
	Items        int    `json:"items,omitempty"`
}
