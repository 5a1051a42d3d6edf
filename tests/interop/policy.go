package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// policy is a reading of c2sp.org/tlog-policy of its own, straight from the text.
type policy struct {
	logs      []note.Verifier
	witnesses map[string]note.Verifier
	groups    map[string]group
	quorum    string
}

type group struct {
	threshold int
	members   []string
}

func readPolicy(path string) *policy {
	data, err := os.ReadFile(path)
	must(err)
	p := &policy{witnesses: map[string]note.Verifier{}, groups: map[string]group{}}
	for _, line := range strings.Split(string(data), "\n") {
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch words[0] {
		case "log":
			v, err := note.NewVerifier(words[1])
			must(err)
			p.logs = append(p.logs, v)
		case "witness":
			v, err := fnote.NewVerifierForCosignatureV1(words[2])
			must(err)
			p.witnesses[words[1]] = v
		case "group":
			members := words[3:]
			n := map[string]int{"any": 1, "all": len(members)}[words[2]]
			if n == 0 {
				n, err = strconv.Atoi(words[2])
				must(err)
			}
			for _, member := range members {
				_, isWitness := p.witnesses[member]
				_, isGroup := p.groups[member]
				check(isWitness || isGroup, "group member %q is not defined", member)
			}
			p.groups[words[1]] = group{n, members}
		case "quorum":
			check(p.quorum == "", "two quorum lines")
			p.quorum = words[1]
		default:
			fail("policy line %q", line)
		}
	}
	check(p.quorum != "", "no quorum line")
	return p
}

// verifiers are all the keys of the policy.
func (p *policy) verifiers() note.Verifiers {
	all := append([]note.Verifier{}, p.logs...)
	for _, v := range p.witnesses {
		all = append(all, v)
	}
	return note.VerifierList(all...)
}

func (p *policy) met(name string, signed func(note.Verifier) bool) bool {
	if name == "none" {
		return true
	}
	if v, ok := p.witnesses[name]; ok {
		return signed(v)
	}
	g, ok := p.groups[name]
	check(ok, "quorum %q is not defined", name)
	n := 0
	for _, member := range g.members {
		if p.met(member, signed) {
			n++
		}
	}
	return n >= g.threshold
}

// open verifies a checkpoint note under the policy.
func (p *policy) open(data []byte) (*note.Note, error) {
	n, err := note.Open(data, p.verifiers())
	if err != nil {
		return nil, err
	}
	signed := func(v note.Verifier) bool {
		for _, s := range n.Sigs {
			if s.Name == v.Name() && s.Hash == v.KeyHash() {
				return true
			}
		}
		return false
	}
	origin, _, _ := strings.Cut(n.Text, "\n")
	byLog := false
	for _, v := range p.logs {
		byLog = byLog || (v.Name() == origin && signed(v))
	}
	if !byLog {
		return nil, fmt.Errorf("no log of the policy signed %q", origin)
	}
	if !p.met(p.quorum, signed) {
		return nil, fmt.Errorf("quorum %q is not met by %d signatures", p.quorum, len(n.Sigs))
	}
	return n, nil
}
