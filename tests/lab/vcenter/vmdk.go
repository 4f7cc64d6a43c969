// SPDX-License-Identifier: GPL-2.0-or-later

// Stream-optimised VMDK as ESXi sends it, made while it goes out: grains behind markers, each grain table behind its
// grains, the directory and the footer at the end ("Virtual Disk Format 5.0"). qemu-img writes the same format with tables
// in front, which a stream cannot have: --stream-format qemu gives that instead.
package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

const (
	sector       = 512
	grainSectors = 128
	grainBytes   = grainSectors * sector
	tableGrains  = 512
	overhead     = 128 // sectors in front of the first grain

	markGrainTable     = 1
	markGrainDirectory = 2
	markFooter         = 3
)

type streamWriter struct {
	out io.Writer
	at  int64 // bytes written
	err error

	table     [tableGrains]uint32
	directory []uint32
}

func (s *streamWriter) write(p []byte) {
	if s.err == nil {
		var n int
		n, s.err = s.out.Write(p)
		s.at += int64(n)
	}
}

func (s *streamWriter) pad() {
	if rest := s.at % sector; rest != 0 {
		s.write(make([]byte, sector-rest))
	}
}

func (s *streamWriter) mark(kind uint32, sectors int) {
	var m [sector]byte
	binary.LittleEndian.PutUint64(m[0:], uint64(sectors))
	binary.LittleEndian.PutUint32(m[12:], kind)
	s.write(m[:])
}

// numbers writes a table behind its marker and gives its sector.
func (s *streamWriter) numbers(kind uint32, values []uint32) uint32 {
	s.mark(kind, (len(values)*4+sector-1)/sector)
	place := uint32(s.at / sector)
	var text bytes.Buffer
	_ = binary.Write(&text, binary.LittleEndian, values)
	s.write(text.Bytes())
	s.pad()
	return place
}

func sparseHeader(sizeBytes int64, directory uint64) []byte {
	h := make([]byte, sector)
	le := binary.LittleEndian
	copy(h, "KDMV")
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], 1|1<<16|1<<17) // newline test, compressed grains, markers
	le.PutUint64(h[12:], uint64((sizeBytes+grainBytes-1)/grainBytes*grainSectors))
	le.PutUint64(h[20:], grainSectors)
	le.PutUint64(h[28:], 1) // the descriptor's place and length
	le.PutUint64(h[36:], 20)
	le.PutUint32(h[44:], tableGrains)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], overhead)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1) // deflate
	return h
}

func (s *streamWriter) begin(sizeBytes int64, name string) {
	s.write(sparseHeader(sizeBytes, ^uint64(0)))
	s.write([]byte(fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"+
		"createType=\"streamOptimized\"\n\n# Extent description\nRDONLY %d SPARSE \"%s\"\n\n# The Disk Data Base\n#DDB\n\n"+
		"ddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"19\"\n", sizeBytes/sector, name)))
	s.write(make([]byte, overhead*sector-s.at))
}

func (s *streamWriter) grain(number int64, content []byte) {
	var packed bytes.Buffer
	z, _ := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	_, _ = z.Write(content)
	_ = z.Close()
	s.table[number%tableGrains] = uint32(s.at / sector)
	var m [12]byte
	binary.LittleEndian.PutUint64(m[0:], uint64(number*grainSectors))
	binary.LittleEndian.PutUint32(m[8:], uint32(packed.Len()))
	s.write(m[:])
	s.write(packed.Bytes())
	s.pad()
}

// endTables writes the tables in front of table NUMBER that have not been written.
func (s *streamWriter) endTables(number int64) {
	for int64(len(s.directory)) < number {
		place := uint32(0)
		if s.table != [tableGrains]uint32{} {
			place = s.numbers(markGrainTable, s.table[:])
			s.table = [tableGrains]uint32{}
		}
		s.directory = append(s.directory, place)
	}
}

func (s *streamWriter) end(sizeBytes int64) {
	place := s.numbers(markGrainDirectory, s.directory)
	s.mark(markFooter, 1)
	s.write(sparseHeader(sizeBytes, uint64(place)))
	s.mark(0, 0) // the end of the stream
}

// writeStream sends the raw image CONTENT.
func writeStream(out io.Writer, content, name string) error {
	file, err := os.Open(content)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	s := &streamWriter{out: out}
	s.begin(info.Size(), name)
	buffer, zero := make([]byte, grainBytes), make([]byte, grainBytes)
	err = data(file, info.Size(), 0, func(begin, end int64) error {
		for number := begin / grainBytes; number*grainBytes < end && s.err == nil; number++ {
			n := readBlock(file, buffer, number*grainBytes)
			copy(buffer[n:], zero)
			if !bytes.Equal(buffer, zero) {
				s.endTables(number / tableGrains)
				s.grain(number, buffer)
			}
		}
		return s.err
	})
	if err != nil {
		return err
	}
	s.endTables((info.Size() + tableGrains*grainBytes - 1) / (tableGrains * grainBytes))
	s.end(info.Size())
	return s.err
}
