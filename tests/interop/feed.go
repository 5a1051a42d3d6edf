package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// memoryLog is a log in this process: x/mod's stored hashes, signed by a note key.
type memoryLog struct {
	origin string
	signer note.Signer
	hashes []tlog.Hash
	size   int64
}

func (l *memoryLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, l.hashes[index])
	}
	return found, nil
}

func (l *memoryLog) grow(size int64, word string) {
	for ; l.size < size; l.size++ {
		more, err := tlog.StoredHashes(l.size, []byte(fmt.Sprintf("%s %d", word, l.size)), l)
		must(err)
		l.hashes = append(l.hashes, more...)
	}
}

func (l *memoryLog) root(size int64) tlog.Hash {
	if size == 0 {
		return tlog.Hash([]byte("\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24\x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55"))
	}
	root, err := tlog.TreeHash(size, l)
	must(err)
	return root
}

func (l *memoryLog) text(size int64) string {
	root := l.root(size)
	return string(flog.Checkpoint{Origin: l.origin, Size: uint64(size), Hash: root[:]}.Marshal())
}

func (l *memoryLog) sign(text string, signers ...note.Signer) []byte {
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	must(err)
	return signed
}

func (l *memoryLog) proof(old, size int64) []string {
	if old == 0 || old == size {
		return nil
	}
	proof, err := tlog.ProveTree(size, old, l)
	must(err)
	var lines []string
	for _, hash := range proof {
		lines = append(lines, base64.StdEncoding.EncodeToString(hash[:]))
	}
	return lines
}

func body(old string, proof []string, checkpoint []byte) []byte {
	lines := append([]string{"old " + old}, proof...)
	return append([]byte(strings.Join(lines, "\n")+"\n\n"), checkpoint...)
}

func post(url string, data []byte) (int, string, []byte) {
	response, err := http.Post(url+"/add-checkpoint", "text/plain", bytes.NewReader(data))
	must(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	must(err)
	return response.StatusCode, response.Header.Get("Content-Type"), answer
}

func newSigner(origin string) (note.Signer, string) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	must(err)
	signer, err := note.NewSigner(private)
	must(err)
	return signer, public
}

// feedWitness plays a log against a witness: writes a list of logs, waits for a line on stdin (the witness runs), and
// takes it through the answers of c2sp.org/tlog-witness.
func feedWitness(args []string) {
	const origin = "go.example/log"
	signer, public := newSigner(origin)
	stranger, _ := newSigner(origin)
	must(os.WriteFile(args[0], []byte("log "+public+"\n"), 0o600))
	fmt.Println("wrote", args[0])
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	words := strings.Fields(line)
	url, vkey := words[0], words[1]
	witness, err := fnote.NewVerifierForCosignatureV1(vkey)
	must(err)
	log := &memoryLog{origin: origin, signer: signer}
	log.grow(1000, "entry")
	fork := &memoryLog{origin: origin, signer: signer}
	fork.grow(1000, "other")
	expect := func(what string, want int, data []byte) []byte {
		status, media, answer := post(url, data)
		check(status == want, "%s: %d %s, not %d", what, status, answer, want)
		if want == 409 {
			check(media == "text/x.tlog.size", "%s: type %q", what, media)
		}
		if want == 200 {
			_, checkpoint, _ := bytes.Cut(data, []byte("\n\n"))
			opened, err := note.Open(append(bytes.Clone(checkpoint), answer...), note.VerifierList(witness))
			must(err)
			check(len(opened.Sigs) == 1, "%s: %d cosignatures", what, len(opened.Sigs))
			at, err := fnote.CoSigV1Timestamp(opened.Sigs[0])
			must(err)
			check(time.Since(at) < time.Hour && time.Until(at) < time.Minute, "%s: signed at %v", what, at)
		}
		return answer
	}
	signed := func(size int64) []byte { return log.sign(log.text(size), signer) }
	other := *log
	other.origin = "go.example/other"
	expect("no form", 400, []byte("nothing"))
	expect("no old line", 400, body("x", nil, signed(1)))
	expect("leading zero", 400, body("00", nil, signed(1)))
	expect("an unknown log", 404, body("0", nil, other.sign(other.text(1), signer)))
	expect("a stranger's key", 403, body("0", nil, log.sign(log.text(1), stranger)))
	expect("no such size yet", 409, body("5", nil, signed(7)))
	expect("old above new", 400, body("9", nil, signed(7)))
	expect("a proof from nothing", 422, body("0", log.proof(3, 7), signed(7)))
	expect("an empty tree with a root", 422, body("0", nil, log.sign(strings.Replace(log.text(0), base64Root(log, 0), base64Root(log, 1), 1), signer)))
	expect("the empty tree", 200, body("0", nil, signed(0)))
	expect("the first", 200, body("0", nil, signed(3)))
	expect("the same again", 200, body("3", nil, signed(3)))
	expect("with a line by somebody else", 200, body("3", log.proof(3, 4), log.sign(log.text(4), stranger, signer)))
	check(string(expect("behind", 409, body("0", nil, signed(7)))) == "4\n", "the size is not told")
	expect("without proof", 422, body("4", nil, signed(7)))
	expect("a wrong proof", 422, body("4", log.proof(3, 7), signed(7)))
	expect("a fork", 422, body("4", fork.proof(4, 7), fork.sign(fork.text(7), signer)))
	expect("a fork of the same size", 409, body("4", nil, fork.sign(fork.text(4), signer)))
	expect("going back", 400, body("4", nil, signed(3)))
	expect("with an extension line", 200, body("4", log.proof(4, 300), log.sign(log.text(300)+"extra\n", signer)))
	race(url, log, signed)
	fmt.Println("ok")
}

func base64Root(l *memoryLog, size int64) string {
	root := l.root(size)
	return base64.StdEncoding.EncodeToString(root[:])
}

// race sends many sizes at once from the same old size: one wins, and the rest are told its size.
func race(url string, log *memoryLog, signed func(int64) []byte) {
	old := int64(300)
	for round := 0; round < 5; round++ {
		var wait sync.WaitGroup
		statuses, answers := make([]int, 16), make([]string, 16)
		for i := range statuses {
			wait.Add(1)
			go func() {
				defer wait.Done()
				size := old + 1 + int64(i)
				status, _, answer := post(url, body(strconv.FormatInt(old, 10), log.proof(old, size), signed(size)))
				statuses[i], answers[i] = status, string(answer)
			}()
		}
		wait.Wait()
		won := int64(0)
		for i, status := range statuses {
			if status == 200 {
				check(won == 0, "two sizes were cosigned from the same old one")
				won = old + 1 + int64(i)
			}
		}
		check(won != 0, "nobody won: %v", statuses)
		for i, status := range statuses {
			check(status == 200 || (status == 409 && answers[i] == fmt.Sprintf("%d\n", won)), "%d %q", status, answers[i])
		}
		old = won
	}
}
