// Lists archives as Go's archive/tar reads them, for tests/build/go_tar.rs.
//
// Input: archives, each after its length as four bytes in big-endian order. Output: a line of JSON for each, with its members
// or the reason why it can't be read. Paths, links, attributes and content are hexadecimal, for they needn't be text.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
)

// Bytes of all files of an archive that are read.
const limit = 64 << 20

type member struct {
	Path    string            `json:"path"`
	Type    int               `json:"type"`
	Size    int64             `json:"size"`
	Digest  string            `json:"digest"`
	Mode    int64             `json:"mode"`
	UID     int               `json:"uid"`
	GID     int               `json:"gid"`
	Major   int64             `json:"major"`
	Minor   int64             `json:"minor"`
	Seconds int64             `json:"seconds"`
	Nanos   int               `json:"nanoseconds"`
	Link    string            `json:"link"`
	Xattrs  map[string]string `json:"xattrs"`
}

type answer struct {
	Refused string   `json:"refused"`
	Members []member `json:"members"`
}

func text(s string) string {
	return hex.EncodeToString([]byte(s))
}

func list(archive []byte) ([]member, error) {
	reader := tar.NewReader(bytes.NewReader(archive))
	found := []member{}
	left := int64(limit)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		digest := sha256.New()
		size, err := io.Copy(digest, io.LimitReader(reader, left+1))
		if err != nil {
			return nil, err
		}
		left -= size
		if left < 0 {
			return nil, errors.New("too large")
		}
		// What describes all members to come.
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		// Header.Xattrs leaves out those that are empty, and container engines go by the records.
		xattrs := map[string]string{}
		for keyword, value := range header.PAXRecords {
			if name, is := strings.CutPrefix(keyword, "SCHILY.xattr."); is {
				xattrs[text(name)] = text(value)
			}
		}
		found = append(found, member{
			Path:    text(header.Name),
			Type:    int(header.Typeflag),
			Size:    size,
			Digest:  hex.EncodeToString(digest.Sum(nil)),
			Mode:    header.Mode,
			UID:     header.Uid,
			GID:     header.Gid,
			Major:   header.Devmajor,
			Minor:   header.Devminor,
			Seconds: header.ModTime.Unix(),
			Nanos:   header.ModTime.Nanosecond(),
			Link:    text(header.Linkname),
			Xattrs:  xattrs,
		})
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		var length uint32
		if binary.Read(input, binary.BigEndian, &length) != nil {
			return
		}
		archive := make([]byte, length)
		if _, err := io.ReadFull(input, archive); err != nil {
			return
		}
		members, err := list(archive)
		result := answer{Members: members}
		if err != nil {
			result.Refused = err.Error()
		}
		if output.Encode(result) != nil {
			return
		}
	}
}
