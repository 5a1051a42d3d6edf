// Checks what Gridpact's ledger publishes with other people's code: golang.org/x/mod/sumdb (the Go checksum database)
// and transparency-dev/formats. Every command prints one line "ok ..." or ends with an error.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: interop log|proof|policy|feed|witness ...")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "log": // PREFIX POLICY [OLDER-CHECKPOINT]
		checkLog(args)
	case "proof": // TLOG-PROOF ENTRY POLICY
		checkProof(args)
	case "policy": // POLICY CHECKPOINT met|unmet
		checkPolicy(args)
	case "feed": // LOGS-FILE-TO-WRITE, then WITNESS-URL WITNESS-VKEY on stdin
		feedWitness(args)
	case "witness": // NAME
		beWitness(args)
	default:
		fail("unknown command %q", os.Args[1])
	}
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func check(ok bool, format string, args ...any) {
	if !ok {
		fail(format, args...)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
