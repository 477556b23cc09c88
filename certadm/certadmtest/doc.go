// Package certadmtest is the suite that every [certadm.Service] passes: the
// embedded authority in its own process, a client and a server of MS-CSRA with
// a network between them, and Certadm.dll.
//
// The suite is a numbered list of behaviours, 1 to 71. The first ten concern
// constants and lists, 11 to 15 the online check and the control call, 16 to 51
// the backup session, 52 to 55 access and audit, 56 to 71 the restore. Where
// they come from is Microsoft's API pages (certbcli.h), MS-CSRA sections
// 3.1.4.1.18 to 28 and the documentation of the Extensible Storage Engine; where
// nothing public settles a question, the suite fixes what this project chose.
//
// An implementation is tested by a function that makes a fresh authority for
// each test, an [Env], and by the list of the numbers that cannot apply to it,
// each with its reason:
//
//	func TestConformance(t *testing.T) {
//		certadmtest.Run(t, newEnv, map[int]string{
//			15: "a service in the same process has no server name",
//		})
//	}
//
// What an Env can do beyond the necessary is found by type assertion, see the
// other interfaces here. An item may have several parts, and each part asks for
// the abilities it needs. The rules of the list are strict in both directions:
//
//   - An item that is not listed must run, in all its parts, and pass.
//   - A listed item of which some part cannot run, for want of an ability, is
//     skipped in that part; its other parts still run and must pass.
//   - A listed item all of whose parts can run must fail in one of them: that is
//     a known deviation, which is logged. If everything passes, the entry is
//     stale, and the test fails.
//   - A listed number that does not exist, or has no reason, fails the test.
//
// The suite knows no concrete types and no storage engine: it puts files where
// the lists say, by [Locator], and looks at them through the service.
package certadmtest
