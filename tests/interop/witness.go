package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// aWitness cosigns one log that it knows by one key, as c2sp.org/tlog-witness has it; what it signed is in memory.
type aWitness struct {
	log    note.Verifier
	signer note.Signer
	mu     sync.Mutex
	last   tlog.Tree
}

// beWitness prints "NAME VKEY URL", reads the log's key from stdin, and serves until stdin ends.
func beWitness(args []string) {
	private, public, err := note.GenerateKey(rand.Reader, args[0])
	must(err)
	signer, err := fnote.NewSignerForCosignatureV1(private)
	must(err)
	vkey, err := fnote.VKeyToCosignatureV1(public)
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(args[0], vkey, "http://"+listener.Addr().String()+"/prefix")
	stdin := bufio.NewReader(os.Stdin)
	line, err := stdin.ReadString('\n')
	must(err)
	verifier, err := note.NewVerifier(strings.TrimSpace(line))
	must(err)
	witness := &aWitness{log: verifier, signer: signer}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /prefix/add-checkpoint", witness.addCheckpoint)
	go func() { must(http.Serve(listener, http.MaxBytesHandler(mux, 10*1024))) }()
	_, err = io.ReadAll(stdin)
	must(err)
	fmt.Println("ok", witness.last.N)
}

func (w *aWitness) addCheckpoint(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	must(err)
	head, signed, found := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if !found || err != nil || len(lines) > 64 {
		http.Error(answer, "no form", http.StatusBadRequest)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			http.Error(answer, "no hash", http.StatusBadRequest)
			return
		}
		proof = append(proof, hash)
	}
	if origin, _, _ := strings.Cut(string(signed), "\n"); origin != w.log.Name() {
		http.Error(answer, "unknown log", http.StatusNotFound)
		return
	}
	opened, err := note.Open(signed, note.VerifierList(w.log))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusForbidden)
		return
	}
	line, err := w.cosign(old, treeOf(opened.Text), proof, opened.Text)
	if conflict := (errConflict{}); errors.As(err, &conflict) {
		answer.Header().Set("Content-Type", "text/x.tlog.size")
		answer.WriteHeader(http.StatusConflict)
		fmt.Fprintf(answer, "%d\n", conflict.known)
	} else if err != nil {
		http.Error(answer, err.Error(), http.StatusUnprocessableEntity)
	} else {
		_, err = answer.Write(line)
		must(err)
	}
}

type errConflict struct{ known int64 }

func (e errConflict) Error() string { return "another size" }

func (w *aWitness) cosign(old int64, tree tlog.Tree, proof tlog.TreeProof, text string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old != w.last.N {
		return nil, errConflict{w.last.N}
	}
	if old > 0 {
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, w.last.N, w.last.Hash); err != nil {
			return nil, err
		}
	}
	w.last = tree
	signed, err := note.Sign(&note.Note{Text: text}, w.signer)
	if err != nil {
		return nil, err
	}
	_, lines, _ := bytes.Cut(signed, []byte("\n\n"))
	return lines, nil
}
