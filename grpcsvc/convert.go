package grpcsvc

import (
	"time"

	"volley/grpcsvc/pb"
	"volley/node"
)

// The functions xToWire and xFromWire turn node's messages into the generated
// ones and back. An absent message is the zero value; nothing is judged here.

func timeToWire(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeFromWire(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func memberToWire(m node.Member) *pb.Member {
	return &pb.Member{ServerId: m.ServerID, NodeId: m.NodeID, Region: m.Region, Addr: m.Addr, Weight: m.Weight, Incarnation: m.Incarnation}
}

func memberFromWire(m *pb.Member) node.Member {
	return node.Member{ServerID: m.GetServerId(), NodeID: m.GetNodeId(), Region: m.GetRegion(), Addr: m.GetAddr(), Weight: m.GetWeight(), Incarnation: m.GetIncarnation()}
}

func fenceToWire(f node.Fence) *pb.Fence {
	return &pb.Fence{ClusterId: f.ClusterID, LeaderId: f.LeaderID, Term: f.Term}
}

func fenceFromWire(f *pb.Fence) node.Fence {
	return node.Fence{ClusterID: f.GetClusterId(), LeaderID: f.GetLeaderId(), Term: f.GetTerm()}
}

func helloToWire(h node.Hello) *pb.HelloRequest {
	return &pb.HelloRequest{Cluster: h.Cluster, Nonce: h.Nonce, From: memberToWire(h.From), Expect: int64(h.Expect), Proto: int64(h.Proto)}
}

func helloFromWire(h *pb.HelloRequest) node.Hello {
	return node.Hello{Cluster: h.GetCluster(), Nonce: h.GetNonce(), From: memberFromWire(h.GetFrom()), Expect: int(h.GetExpect()), Proto: int(h.GetProto())}
}

func helloReplyToWire(r node.HelloReply) *pb.HelloReply {
	return &pb.HelloReply{
		Cluster: r.Cluster, Nonce: r.Nonce, From: memberToWire(r.From), Expect: int64(r.Expect), Proto: int64(r.Proto),
		Blank: r.Blank, Draining: r.Draining, ClusterId: r.ClusterID, Term: r.Term, LeaderId: r.LeaderID, LeaderAddr: r.LeaderAddr, Refusal: r.Refusal,
	}
}

func helloReplyFromWire(r *pb.HelloReply) node.HelloReply {
	return node.HelloReply{
		Cluster: r.GetCluster(), Nonce: r.GetNonce(), From: memberFromWire(r.GetFrom()), Expect: int(r.GetExpect()), Proto: int(r.GetProto()),
		Blank: r.GetBlank(), Draining: r.GetDraining(), ClusterID: r.GetClusterId(), Term: r.GetTerm(), LeaderID: r.GetLeaderId(), LeaderAddr: r.GetLeaderAddr(), Refusal: r.GetRefusal(),
	}
}

func pongToWire(p node.Pong) *pb.Pong {
	return &pb.Pong{ServerId: p.ServerID, ReceivedNs: p.ReceivedNs, SentNs: p.SentNs}
}

func pongFromWire(p *pb.Pong) node.Pong {
	return node.Pong{ServerID: p.GetServerId(), ReceivedNs: p.GetReceivedNs(), SentNs: p.GetSentNs()}
}

func grantToWire(g node.Grant) *pb.GrantRequest {
	out := &pb.GrantRequest{Cluster: g.Cluster, ClusterId: g.ClusterID, From: memberToWire(g.From)}
	for _, m := range g.Servers {
		out.Servers = append(out.Servers, memberToWire(m))
	}
	return out
}

func grantFromWire(g *pb.GrantRequest) node.Grant {
	out := node.Grant{Cluster: g.GetCluster(), ClusterID: g.GetClusterId(), From: memberFromWire(g.GetFrom())}
	for _, m := range g.GetServers() {
		out.Servers = append(out.Servers, memberFromWire(m))
	}
	return out
}

func grantReplyToWire(r node.GrantReply) *pb.GrantReply {
	return &pb.GrantReply{Granted: r.Granted, Reason: r.Reason}
}

func grantReplyFromWire(r *pb.GrantReply) node.GrantReply {
	return node.GrantReply{Granted: r.GetGranted(), Reason: r.GetReason()}
}

func joinToWire(j node.Join) *pb.JoinRequest {
	return &pb.JoinRequest{Cluster: j.Cluster, ClusterId: j.ClusterID, From: memberToWire(j.From)}
}

func joinFromWire(j *pb.JoinRequest) node.Join {
	return node.Join{Cluster: j.GetCluster(), ClusterID: j.GetClusterId(), From: memberFromWire(j.GetFrom())}
}

func leaveToWire(l node.Leave) *pb.LeaveRequest {
	return &pb.LeaveRequest{ClusterId: l.ClusterID, From: memberToWire(l.From), RunId: l.RunID}
}

func leaveFromWire(l *pb.LeaveRequest) node.Leave {
	return node.Leave{ClusterID: l.GetClusterId(), From: memberFromWire(l.GetFrom()), RunID: l.GetRunId()}
}

func distributeToWire(d node.Distribute) *pb.TestConfig {
	return &pb.TestConfig{
		Fence: fenceToWire(d.Fence), RunId: d.RunID, Seed: d.Seed,
		Version: d.Config.Version, Source: d.Config.Source, Origin: d.Config.Origin, Revision: d.Config.Revision, Document: d.Config.Document,
		Files: filesToWire(d.Config.Files),
	}
}

func distributeFromWire(t *pb.TestConfig) node.Distribute {
	return node.Distribute{
		Fence: fenceFromWire(t.GetFence()), RunID: t.GetRunId(), Seed: t.GetSeed(),
		Config: node.Config{
			Version: t.GetVersion(), Source: t.GetSource(), Origin: t.GetOrigin(), Revision: t.GetRevision(), Document: t.GetDocument(),
			Files: filesFromWire(t.GetFiles()),
		},
	}
}

func ackToWire(a node.Ack) *pb.Ack {
	return &pb.Ack{ServerId: a.ServerID, Incarnation: a.Incarnation, Version: a.Version}
}

func ackFromWire(a *pb.Ack) node.Ack {
	return node.Ack{ServerID: a.GetServerId(), Incarnation: a.GetIncarnation(), Version: a.GetVersion()}
}

func startToWire(s node.StartTest) *pb.StartTestRequest {
	return &pb.StartTestRequest{Fence: fenceToWire(s.Fence), RunId: s.RunID, StartAtNs: timeToWire(s.StartAt), Clock: s.Clock}
}

func startFromWire(s *pb.StartTestRequest) node.StartTest {
	return node.StartTest{Fence: fenceFromWire(s.GetFence()), RunID: s.GetRunId(), StartAt: timeFromWire(s.GetStartAtNs()), Clock: s.GetClock()}
}

func stopTestToWire(s node.StopTest) *pb.StopTestRequest {
	return &pb.StopTestRequest{Fence: fenceToWire(s.Fence), RunId: s.RunID, Cause: s.Cause}
}

func stopTestFromWire(s *pb.StopTestRequest) node.StopTest {
	return node.StopTest{Fence: fenceFromWire(s.GetFence()), RunID: s.GetRunId(), Cause: s.GetCause()}
}

func submitToWire(s node.Submit) *pb.SubmitConfigRequest {
	return &pb.SubmitConfigRequest{ClusterId: s.ClusterID, From: memberToWire(s.From), Document: s.Document}
}

func submitFromWire(s *pb.SubmitConfigRequest) node.Submit {
	return node.Submit{ClusterID: s.GetClusterId(), From: memberFromWire(s.GetFrom()), Document: s.GetDocument()}
}

func submittedToWire(s node.Submitted) *pb.Submitted {
	return &pb.Submitted{RunId: s.RunID, Version: s.Version, NodeId: s.NodeID}
}

func submittedFromWire(s *pb.Submitted) node.Submitted {
	return node.Submitted{RunID: s.GetRunId(), Version: s.GetVersion(), NodeID: s.GetNodeId()}
}

func stopToWire(s node.StopRequest) *pb.SubmitStopRequest {
	return &pb.SubmitStopRequest{ClusterId: s.ClusterID, Tenant: s.Tenant, Cause: s.Cause}
}

func stopFromWire(s *pb.SubmitStopRequest) node.StopRequest {
	return node.StopRequest{ClusterID: s.GetClusterId(), Tenant: s.Tenant, Cause: s.GetCause()}
}

func stoppedToWire(s node.Stopped) *pb.Stopped {
	return &pb.Stopped{RunId: s.RunID, Tenant: s.Tenant}
}

func stoppedFromWire(s *pb.Stopped) node.Stopped {
	return node.Stopped{RunID: s.GetRunId(), Tenant: s.GetTenant()}
}

func reportToWire(r node.Report) *pb.ReportRequest {
	return &pb.ReportRequest{
		ClusterId: r.ClusterID, RunId: r.RunID, Of: memberToWire(r.Of), Seq: r.Seq,
		Incarnation: r.Incarnation, Final: r.Final, Failure: r.Failure, Left: r.Left, Summary: r.Summary,
	}
}

func reportFromWire(r *pb.ReportRequest) node.Report {
	return node.Report{
		ClusterID: r.GetClusterId(), RunID: r.GetRunId(), Of: memberFromWire(r.GetOf()), Seq: r.GetSeq(),
		Incarnation: r.GetIncarnation(), Final: r.GetFinal(), Failure: r.GetFailure(), Left: r.GetLeft(), Summary: r.GetSummary(),
	}
}

func healthCheckToWire(h node.HealthCheck) *pb.HealthCheckRequest {
	return &pb.HealthCheckRequest{Fence: fenceToWire(h.Fence), View: h.View}
}

func healthCheckFromWire(h *pb.HealthCheckRequest) node.HealthCheck {
	return node.HealthCheck{Fence: fenceFromWire(h.GetFence()), View: h.GetView()}
}

func healthToWire(h node.Health) *pb.HealthReply {
	return &pb.HealthReply{
		ServerId: h.ServerID, Incarnation: h.Incarnation, AppliedIndex: h.AppliedIndex, ReadyRun: h.ReadyRun, SourceHash: h.SourceHash,
		ClockOffsetNs: int64(h.ClockOffset), ClockBoundNs: int64(h.ClockBound), StartSkewNs: int64(h.StartSkew),
		FirstRequestNs: timeToWire(h.FirstRequest), Divisions: countsToWire(h.Divisions), Suspended: h.Suspended,
	}
}

func healthFromWire(h *pb.HealthReply) node.Health {
	return node.Health{
		ServerID: h.GetServerId(), Incarnation: h.GetIncarnation(), AppliedIndex: h.GetAppliedIndex(), ReadyRun: h.GetReadyRun(), SourceHash: h.GetSourceHash(),
		ClockOffset: time.Duration(h.GetClockOffsetNs()), ClockBound: time.Duration(h.GetClockBoundNs()), StartSkew: time.Duration(h.GetStartSkewNs()),
		FirstRequest: timeFromWire(h.GetFirstRequestNs()), Divisions: countsFromWire(h.GetDivisions()), Suspended: h.GetSuspended(),
	}
}

func countsToWire(in map[string]int) map[string]int64 {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]int64, len(in))
	for k, n := range in {
		out[k] = int64(n)
	}
	return out
}

func countsFromWire(in map[string]int64) map[string]int {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]int, len(in))
	for k, n := range in {
		out[k] = int(n)
	}
	return out
}
