package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// The suite black-holes a port by filtering packets inside the container's
// network namespace: a helper container that shares the namespace and has
// CAP_NET_ADMIN runs this once. It talks nf_tables over netlink itself, so that
// neither root on the Docker host nor an iptables binary is needed.

// filterTable holds all rules of the suite; heal deletes it as a whole.
const filterTable = "volley_e2e"

func runDrop(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("drop", flag.ContinueOnError)
	port := flags.Uint("port", 0, "TCP port whose packets are dropped, as source and as destination, in both directions")
	refuse := flags.Bool("refuse", false, "only answer connections to the port with a reset, as if nobody listened")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *port == 0 || *port > 65535 {
		return fmt.Errorf("port %d: want 1 to 65535", *port)
	}
	messages := dropMessages(uint16(*port))
	if *refuse {
		messages = refuseMessages(uint16(*port))
	}
	if err := netfilter(messages); err != nil {
		return fmt.Errorf("drop port %d: %w", *port, err)
	}
	return nil
}

func runHeal(context.Context, []string) error {
	err := netfilter([]message{{kind: unix.NFT_MSG_DELTABLE, body: text(unix.NFTA_TABLE_NAME, filterTable)}})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("heal: %w", err)
	}
	return nil
}

// message is one nf_tables request inside a batch.
type message struct {
	kind, flags uint16
	body        []byte
}

// Offsets in the TCP header.
const (
	sourcePort      = 0
	destinationPort = 2
)

// dropMessages builds the table with a chain for packets in and one for packets
// out, each with a rule for the source port and one for the destination port.
func dropMessages(port uint16) []message {
	drop := expression("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nested(unix.NFTA_IMMEDIATE_DATA, nested(unix.NFTA_DATA_VERDICT, number(unix.NFTA_VERDICT_CODE, 0)))) // 0 is NF_DROP
	messages := []message{newTable()}
	for name, hook := range map[string]uint32{"in": unix.NF_INET_LOCAL_IN, "out": unix.NF_INET_LOCAL_OUT} {
		messages = append(messages, newChain(name, hook),
			newRule(name, sourcePort, port, drop), newRule(name, destinationPort, port, drop))
	}
	return messages
}

// refuseMessages builds a table that resets what comes in for port.
func refuseMessages(port uint16) []message {
	reset := expression("reject", number(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_TCP_RST))
	return []message{newTable(), newChain("refuse", unix.NF_INET_LOCAL_IN), newRule("refuse", destinationPort, port, reset)}
}

func newTable() message {
	return message{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, text(unix.NFTA_TABLE_NAME, filterTable)}
}

func newChain(name string, hook uint32) message {
	return message{unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, slices.Concat(
		text(unix.NFTA_CHAIN_TABLE, filterTable), text(unix.NFTA_CHAIN_NAME, name),
		nested(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, hook), number(unix.NFTA_HOOK_PRIORITY, 0)),
		text(unix.NFTA_CHAIN_TYPE, "filter"))}
}

// newRule says: if the protocol is TCP and the port at offset is port, do act.
func newRule(chain string, offset uint32, port uint16, act []byte) message {
	const register = unix.NFT_REG_1
	return message{unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_APPEND, slices.Concat(
		text(unix.NFTA_RULE_TABLE, filterTable), text(unix.NFTA_RULE_CHAIN, chain),
		nested(unix.NFTA_RULE_EXPRESSIONS,
			expression("meta", number(unix.NFTA_META_DREG, register), number(unix.NFTA_META_KEY, unix.NFT_META_L4PROTO)),
			equals(register, []byte{unix.IPPROTO_TCP}),
			expression("payload", number(unix.NFTA_PAYLOAD_DREG, register),
				number(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_TRANSPORT_HEADER),
				number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, 2)),
			equals(register, binary.BigEndian.AppendUint16(nil, port)),
			act))}
}

func equals(register uint32, value []byte) []byte {
	return expression("cmp", number(unix.NFTA_CMP_SREG, register), number(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
		nested(unix.NFTA_CMP_DATA, attribute(unix.NFTA_DATA_VALUE, value)))
}

func expression(name string, data ...[]byte) []byte {
	return nested(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nested(unix.NFTA_EXPR_DATA, data...))
}

// attribute is a netlink attribute: length, kind, payload, padded to four bytes.
func attribute(kind uint16, payload []byte) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(4+len(payload)))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = append(out, payload...)
	return append(out, make([]byte, -len(out)&3)...)
}

func text(kind uint16, value string) []byte { return attribute(kind, append([]byte(value), 0)) }

func number(kind uint16, value uint32) []byte {
	return attribute(kind, binary.BigEndian.AppendUint32(nil, value))
}

func nested(kind uint16, parts ...[]byte) []byte {
	return attribute(kind|unix.NLA_F_NESTED, slices.Concat(parts...))
}

// netfilter sends messages as one transaction and waits for every answer.
func netfilter(messages []message) error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Sendto(socket, batch(messages), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("send", err)
	}
	return readAnswers(socket, len(messages))
}

// batch frames messages; all but the two frames ask for an acknowledgement.
func batch(messages []message) []byte {
	// The frames name the subsystem in big-endian; nothing else does.
	frame := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	out := header(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, frame)
	for i, m := range messages {
		body := append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, m.body...)
		out = append(out, header(unix.NFNL_SUBSYS_NFTABLES<<8|m.kind, m.flags|unix.NLM_F_ACK, uint32(i+1), body)...)
	}
	return append(out, header(unix.NFNL_MSG_BATCH_END, 0, uint32(len(messages)+1), frame)...)
}

func header(kind, flags uint16, sequence uint32, body []byte) []byte {
	out := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = binary.NativeEndian.AppendUint16(out, flags|unix.NLM_F_REQUEST)
	out = binary.NativeEndian.AppendUint32(out, sequence)
	out = binary.NativeEndian.AppendUint32(out, 0)
	return append(out, body...)
}

// readAnswers returns the first error among want acknowledgements.
func readAnswers(socket, want int) error {
	buffer := make([]byte, 64<<10)
	for want > 0 {
		n, _, err := unix.Recvfrom(socket, buffer, 0)
		if err != nil {
			return os.NewSyscallError("receive", err)
		}
		for rest := buffer[:n]; len(rest) >= unix.NLMSG_HDRLEN+4; {
			length := int(binary.NativeEndian.Uint32(rest))
			if code := int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:])); code != 0 {
				return unix.Errno(-code)
			}
			want--
			rest = rest[min(len(rest), (length+3)&^3):]
		}
	}
	return nil
}
