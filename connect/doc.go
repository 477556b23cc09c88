// Package connect leads from a SERVER, as a user writes it, to a
// [certadm.Service]. The command line and the C library share it, so that both
// understand the same addresses.
//
// There are four kinds. adcs:// is an authority across the network, by MS-CSRA.
// local: is this Windows machine's Certadm.dll, with what adcs knows of the
// authority beside it; dll:// is the same library for another machine. ca:DIR is
// the embedded authority in DIR: it is started in this process for as long as the
// connection lasts, and whoever may read and write DIR may do everything with it;
// one that another process serves is reached through that.
package connect
