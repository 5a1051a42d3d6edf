package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	flog "github.com/transparency-dev/formats/log"
	fproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// tiles reads c2sp.org/tlog-tiles over HTTP for x/mod's tlog, which knows the same tiles by longer paths.
type tiles struct {
	prefix  string
	fetched int
}

func (t *tiles) Height() int                     { return height }
func (t *tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range wanted {
		row := t.get(tilePath(tile))
		if len(row) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %v has %d bytes", tile, len(row))
		}
		data = append(data, row)
	}
	return data, nil
}

// tilePath takes x/mod's `tile/8/L/NNN[.p/W]` apart and drops the height.
func tilePath(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(strings.Replace(tile.Path(), "data", "entries", 1), "tile/8/")
}

func (t *tiles) get(path string) []byte {
	response, err := http.Get(t.prefix + "/" + path)
	must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(err)
	check(response.StatusCode == 200, "%s: %s %s", path, response.Status, body)
	kind := "application/octet-stream"
	if path == "checkpoint" {
		kind = "text/plain; charset=utf-8"
	}
	check(response.Header.Get("Content-Type") == kind, "%s has type %q", path, response.Header.Get("Content-Type"))
	check(response.Header.Get("Access-Control-Allow-Origin") == "*", "%s is not for browsers", path)
	t.fetched++
	return body
}

func (t *tiles) status(method, path string, headers map[string]string) (int, http.Header, []byte) {
	request, err := http.NewRequest(method, t.prefix+"/"+path, nil)
	must(err)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(err)
	return response.StatusCode, response.Header, body
}

func treeOf(text string) tlog.Tree {
	var c flog.Checkpoint
	rest, err := c.Unmarshal([]byte(text))
	must(err)
	check(len(rest) == 0, "extension lines %q", rest)
	return tlog.Tree{N: int64(c.Size), Hash: tlog.Hash(c.Hash)}
}

func checkLog(args []string) {
	prefix, trusted := strings.TrimSuffix(args[0], "/"), readPolicy(args[1])
	t := &tiles{prefix: prefix}
	raw := t.get("checkpoint")
	n, err := trusted.open(raw)
	must(err)
	check(len(n.UnverifiedSigs) == 0, "%d lines by keys the policy does not name", len(n.UnverifiedSigs))
	tree := treeOf(n.Text)
	reader := tlog.TileHashReader(tree, t) // checks every tile it reads against the root
	leaves := checkEntries(t, tree, reader)
	for _, index := range []int64{0, 1, tree.N / 3, tree.N / 2, tree.N - 1} {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		must(err)
		must(tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaves[index]))
	}
	if len(args) > 2 {
		older, err := os.ReadFile(args[2])
		must(err)
		o, err := trusted.open(older)
		must(err)
		before := treeOf(o.Text)
		proof, err := tlog.ProveTree(tree.N, before.N, reader)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash))
	}
	checkPaths(t, tree.N)
	fmt.Printf("ok %d leaves, %d signatures, %d fetched\n", tree.N, len(n.Sigs), t.fetched)
	os.Stdout.Sync()
}

// checkEntries reads every bundle and holds each entry against its leaf.
func checkEntries(t *tiles, tree tlog.Tree, reader tlog.HashReader) []tlog.Hash {
	var leaves []tlog.Hash
	for number := int64(0); number*256 < tree.N; number++ {
		tile := tlog.Tile{H: height, L: -1, N: number, W: int(min(256, tree.N-number*256))}
		bundle := t.get(tilePath(tile))
		for len(bundle) > 0 {
			size := int(binary.BigEndian.Uint16(bundle))
			leaves = append(leaves, tlog.RecordHash(bundle[2:2+size]))
			bundle = bundle[2+size:]
		}
	}
	check(int64(len(leaves)) == tree.N, "%d entries for %d leaves", len(leaves), tree.N)
	for first := int64(0); first < tree.N; first += 256 {
		var indexes []int64
		for i := first; i < min(first+256, tree.N); i++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, i))
		}
		hashes, err := reader.ReadHashes(indexes)
		must(err)
		for at, hash := range hashes {
			check(hash == leaves[first+int64(at)], "entry %d is not the one in its tile", first+int64(at))
		}
	}
	return leaves
}

// checkPaths: what is there, what is not, and how it is served.
func checkPaths(t *tiles, size int64) {
	full, rest := size/256, size%256
	absent := []string{
		"tile/0/000.p/256", "tile/0/000.p/0", "tile/0/000.p/", "tile/0/000.p/01", "tile/0/000.p/-1", "tile/0/0",
		"tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/00/000", "tile/-1/000", "tile/64/000", "tile/a/000",
		"tile/8/0/000", "tile/0/000/", "tile/0/x001/x234/067", "tile/entries/x001/x234/067", "tile/0/x001",
		"tile/0/001x", "tile/entries/000.p/257", "tile/entries/", "tile/", "tile/0", "tile/0/999", "tile/5/000",
		fmt.Sprintf("tile/0/%03d", full), fmt.Sprintf("tile/entries/%03d", full),
	}
	for _, path := range absent {
		for _, method := range []string{"GET", "HEAD"} {
			status, headers, _ := t.status(method, path, nil)
			check(status == 404, "%s %s is %d, not 404", method, path, status)
			check(headers.Get("Cache-Control") != "public, max-age=31536000, immutable", "%s: a 404 for ever", path)
		}
	}
	present := map[string]string{"checkpoint": "no-cache", "tile/0/000.p/1": "immutable", "tile/entries/000.p/1": "immutable"}
	if full > 0 {
		present["tile/0/000"], present["tile/entries/000"] = "immutable", "immutable"
		present["tile/1/000.p/1"] = "immutable"
	}
	if rest > 0 {
		present[fmt.Sprintf("tile/0/%03d.p/%d", full, rest)] = "immutable"
	}
	for path, cache := range present {
		status, headers, body := t.status("GET", path, map[string]string{"Origin": "https://elsewhere.example"})
		check(status == 200, "%s is %d", path, status)
		check(strings.Contains(headers.Get("Cache-Control"), cache), "%s: Cache-Control %q", path, headers.Get("Cache-Control"))
		head, headHeaders, none := t.status("HEAD", path, nil)
		check(head == 200 && len(none) == 0, "HEAD %s is %d with %d bytes", path, head, len(none))
		check(headHeaders.Get("Content-Type") == headers.Get("Content-Type"), "HEAD %s has another type", path)
		identity, _, same := t.status("GET", path, map[string]string{"Accept-Encoding": "identity"})
		check(identity == 200 && (path == "checkpoint" || bytes.Equal(same, body) || headers.Get("Content-Encoding") == "gzip"),
			"%s differs without compression", path)
		if strings.HasPrefix(path, "tile/entries") && len(same) > 4096 {
			_, zipped, small := t.status("GET", path, map[string]string{"Accept-Encoding": "gzip"})
			check(zipped.Get("Content-Encoding") == "gzip" && len(small) < len(same), "%s is not compressed", path)
			check(strings.Contains(zipped.Get("Vary"), "Accept-Encoding"), "%s does not vary", path)
		}
	}
}

func checkProof(args []string) {
	data, err := os.ReadFile(args[0])
	must(err)
	entry, err := os.ReadFile(args[1])
	must(err)
	var proof fproof.TLogProof
	must(proof.Unmarshal(data))
	check(bytes.Equal(proof.Marshal(), data), "the proof is not the bytes that its parts make")
	n, err := readPolicy(args[2]).open(proof.Checkpoint)
	must(err)
	tree := treeOf(n.Text)
	var path tlog.RecordProof
	for _, hash := range proof.Hashes {
		path = append(path, tlog.Hash(hash))
	}
	must(tlog.CheckRecord(path, tree.N, tree.Hash, int64(proof.Index), tlog.RecordHash(entry)))
	fmt.Printf("ok entry %d of %d, extra %d bytes\n", proof.Index, tree.N, len(proof.ExtraData))
}

func checkPolicy(args []string) {
	note, err := os.ReadFile(args[1])
	must(err)
	_, err = readPolicy(args[0]).open(note)
	check((err == nil) == (args[2] == "met"), "the policy is not %s: %v", args[2], err)
	fmt.Println("ok", args[2])
}
