// Package kerberos is Kerberos 5 as DCE/RPC speaks it: the three-legged
// exchange of AP messages that GSS_C_DCE_STYLE stands for (MS-KILE section
// 3.4.5.1, RFC 4120, RFC 4121), and the tokens that protect each message (MIC,
// and GSS_WrapEx with buffers that are only signed, MS-KILE section 3.4.5.4).
//
// [NewClient] takes credentials from a ticket cache, a keytab or a password,
// and gets tickets from the KDC. [Client.Initiator] and [NewAcceptor] are the
// two sides of a security context; both implement [gss.Context] and [gss.MIC].
//
// Encryption types are the four AES ones: aes128- and aes256-cts-hmac-sha1-96
// (RFC 3962) and aes128-cts-hmac-sha256-128 and aes256-cts-hmac-sha384-192
// (RFC 8009). RC4 and DES are refused.
//
// The messages of RFC 4120 and keytabs are decoded by package gokrb5. What it
// has not is here: KDC traffic that ends with a context and bounds the reply,
// ciphertext stealing on top of crypto/aes (gokrb5's own takes ten times as
// long), and all of DCE style.
package kerberos
