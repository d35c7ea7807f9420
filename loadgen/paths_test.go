package loadgen_test

import "testing"

// client is by which client jobs are run where a plan does not say it. Tests of
// this package run one after the other.
var client = "auto"

// TestOnNetHTTP runs once more what tests how requests are made, sent, answered,
// judged and counted, on the other client. All of these run on our own as well.
func TestOnNetHTTP(t *testing.T) {
	client = "std"
	defer func() { client = "auto" }()
	for name, test := range map[string]func(*testing.T){
		"bytes":             TestRequestsByteForByte,
		"requests":          TestRequestsLookAsThePlanSays,
		"default headers":   TestDefaultHeadersAreThePredecessors,
		"judging":           TestAResponseIsJudgedByItsStatusAndTheAssertions,
		"failed steps":      TestAnIterationEndsAtAFailedStepUnlessItMayContinue,
		"redirects":         TestRedirectsAreFollowedAndCountedAsHops,
		"credentials":       TestCredentialsDoNotFollowARedirectToAnotherHost,
		"cookies":           TestCookiesLiveAsLongAsThePlanSays,
		"connections":       TestConnectionsLiveAsLongAsThePlanSays,
		"closed by target":  TestAConnectionThatTheTargetClosesIsAReconnect,
		"TLS":               TestTLSIsVerifiedUnlessThePlanSaysOtherwise,
		"broken off":        TestAResponseThatBreaksOffIsANetworkError,
		"ahead":             TestConnectionsAreOpenBeforeTheStart,
		"dead when needed":  TestAReadyConnectionThatDiedIsReplaced,
		"broken connection": TestAConnectionThatBrokeIsReplaced,
		"service time":      TestServiceTimeEndsWithTheLastByte,
		"variables":         TestVariablesReachEveryPartOfARequest,
		"certificate":       TestTheClientCertificateStaysWithItsHost,
		"what it saw":       TestConformanceCountsWhatTheTargetSaw,
		"stopping":          TestConformanceStopDrainsAndThenInterrupts,
		"down":              TestConformanceATargetThatIsDownIsANetworkError,
		"timeouts":          TestConformanceASlowTargetTimesOut,
		"fields":            TestEveryFieldDoesSomething,
		"retries":           TestRetriesRepairWhatFails,
		"decoding":          TestBodiesAreDecodedOnlyWhereTheyAreRead,
		"largest body":      TestMaxBodyBindsPlainBodiesToo,
		"redirected bodies": TestEachRedirectKeepsOrLosesTheBody,
		"cookies by hops":   TestCookiesAndVariablesTravelOverRedirects,
		"versions":          TestTheVersionOfHTTPIsThePlans,
		"every protocol":    TestConnectionsAreCountedFromTheTruthInEveryProtocol,
	} {
		t.Run(name, test)
	}
}
