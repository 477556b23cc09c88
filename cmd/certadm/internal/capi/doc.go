// Package capi is Certadm.dll but for what needs C: contexts as numbers, results
// as HRESULTs, lists as the bytes that a C program gets. Package main of
// cmd/certadm puts the C functions around it.
//
// A [Handle] stands for a backup or a restore session, which has a connection of
// its own until its end. Any value may be passed where a handle is wanted: one
// that is not a context's, or a context's of the other kind, is answered with
// [certadm.HrInvalidHandle]. Numbers are not used twice.
//
// Calls may be made from any thread. Those in one context are made one after the
// other, and the call that ends it waits for the one under way.
package capi
