// Package connect leads from a SERVER, as a user writes it, to a
// [certadm.Service]. The command line and the C library share it, so that both
// understand the same addresses.
//
// Of the four kinds of address this version opens one, ca:DIR: the embedded
// authority in DIR, which is started in this process for as long as the
// connection lasts. Who may read and write DIR may do everything with it, so the
// connection has every right. A DIR that another process serves is refused with
// an error that names the address it is served at.
package connect
