// Package crashtest kills a serving authority at random moments and checks what
// is left: every acknowledged certificate is there, none twice, the contents are
// what the clients wrote down, a backup succeeds and drills clean. It holds
// tests only.
//
// The authority runs in a child process, which ends by SIGKILL from its own
// hand while it is inside the phase that the round aims at. What it was inside
// of is noted in a file, which outlives it; only that counts as a hit. The
// clients' record is a pipe to the parent: a line is written when a certificate
// has been acknowledged, and so belongs to the parent before the child can die
// of it.
package crashtest
