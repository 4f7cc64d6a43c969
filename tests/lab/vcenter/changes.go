// SPDX-License-Identifier: GPL-2.0-or-later

// QueryChangedDiskAreas: two contents compared in blocks of 64 KiB, as VMware tracks them, or what is allocated ("*").
package main

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const blockSize = 64 << 10

type queryAnswer struct {
	Returnval types.DiskChangeInfo `xml:"returnval"`
}

func (l *layer) queryChanged(c *call) (interface{}, types.BaseMethodFault) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok {
		return nil, nil
	}
	request := c.Body.(*types.QueryChangedDiskAreas)
	var answer interface{}
	var fault types.BaseMethodFault
	simulator.Map.WithLock(vm, func() {
		var info *types.DiskChangeInfo
		if info, fault = l.store.changed(vm, request, l.o.maxAreas); fault == nil {
			answer = &queryAnswer{*info}
		}
	})
	return answer, fault
}

func (s *store) changed(vm *simulator.VirtualMachine, request *types.QueryChangedDiskAreas, maxAreas int) (
	*types.DiskChangeInfo, types.BaseMethodFault) {
	c := s.of(vm)
	d := c.disk(request.DeviceKey)
	if d == nil {
		return nil, &types.InvalidArgument{InvalidProperty: "deviceKey"}
	}
	if request.StartOffset < 0 || request.StartOffset >= d.size {
		return nil, &types.InvalidArgument{InvalidProperty: "startOffset"}
	}
	snapshot := ""
	if request.Snapshot != nil {
		snapshot = request.Snapshot.Value
		if simulator.Map.Get(*request.Snapshot) == nil {
			return nil, &types.ManagedObjectNotFound{Obj: *request.Snapshot}
		}
	}
	link, ok := c.at(d, snapshot)
	if !ok {
		return nil, &types.NotFound{}
	}
	if link.changeID == "" {
		return nil, &types.FileFault{File: link.name}
	}
	base, fault := d.since(request.ChangeId, link.name)
	if fault != nil {
		return nil, fault
	}
	areas, err := compare(base, link.content, d.size, request.StartOffset)
	if err != nil {
		return nil, &types.FileFault{File: link.name}
	}
	info := &types.DiskChangeInfo{StartOffset: request.StartOffset, Length: d.size - request.StartOffset}
	if len(areas) > maxAreas { // the answer ends before the first area that does not fit
		info.Length = areas[maxAreas].Start - request.StartOffset
		areas = areas[:maxAreas]
	}
	info.ChangedArea = areas
	return info, nil
}

// since finds the content that a change id stands for; "" for "*".
func (d *disk) since(id, name string) (string, types.BaseMethodFault) {
	if id == "*" {
		return "", nil
	}
	slash := strings.LastIndexByte(id, '/')
	if slash < 0 {
		return "", &types.InvalidArgument{InvalidProperty: "changeId"}
	}
	number, err := strconv.Atoi(id[slash+1:])
	content, known := d.changes[number]
	if err != nil || id[:slash] != d.history || !known {
		return "", &types.FileFault{File: name}
	}
	return content, nil
}

// data calls F for each range of FILE that is no hole, from START on, rounded out to blocks.
func data(file *os.File, size, start int64, f func(begin, end int64) error) error {
	const seekData, seekHole = 3, 4
	for at := start; at < size; {
		begin, err := syscall.Seek(int(file.Fd()), at, seekData)
		if err == syscall.ENXIO || begin >= size {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := syscall.Seek(int(file.Fd()), begin, seekHole)
		if err != nil {
			return err
		}
		begin, end = begin/blockSize*blockSize, (end+blockSize-1)/blockSize*blockSize
		if begin < at {
			begin = at
		}
		if end > size {
			end = size
		}
		if begin < end {
			if err = f(begin, end); err != nil {
				return err
			}
		}
		if end > at {
			at = end
		} else {
			at++
		}
	}
	return nil
}

type areas []types.DiskChangeExtent

func (a *areas) add(begin, end int64) {
	if n := len(*a); n > 0 && (*a)[n-1].Start+(*a)[n-1].Length >= begin {
		if longer := end - (*a)[n-1].Start; longer > (*a)[n-1].Length {
			(*a)[n-1].Length = longer
		}
		return
	}
	*a = append(*a, types.DiskChangeExtent{Start: begin, Length: end - begin})
}

// compare gives the areas in which CONTENT differs from BASE; BASE "": in which it has data.
func compare(base, content string, size, start int64) (areas, error) {
	var found areas
	now, err := os.Open(content)
	if err != nil {
		return nil, err
	}
	defer now.Close()
	if base == "" {
		err = data(now, size, start, func(begin, end int64) error {
			found.add(begin, end)
			return nil
		})
		return found, err
	}
	was, err := os.Open(base)
	if err != nil {
		return nil, err
	}
	defer was.Close()
	one, err1 := was.Stat()
	other, err2 := now.Stat()
	if err1 == nil && err2 == nil && os.SameFile(one, other) {
		return nil, nil
	}
	candidates := make([]bool, (size+blockSize-1)/blockSize) // blocks with data in either
	for _, file := range []*os.File{was, now} {
		err = data(file, size, start/blockSize*blockSize, func(begin, end int64) error {
			for at := begin; at < end; at += blockSize {
				candidates[at/blockSize] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	left, right := make([]byte, blockSize), make([]byte, blockSize)
	for n, candidate := range candidates {
		if !candidate {
			continue
		}
		at := int64(n) * blockSize
		length := readBlock(was, left, at)
		if other := readBlock(now, right, at); other != length || !bytes.Equal(left[:length], right[:length]) {
			begin, end := at, at+blockSize
			if begin < start {
				begin = start
			}
			if end > size {
				end = size
			}
			found.add(begin, end)
		}
	}
	return found, nil
}

func readBlock(file *os.File, buffer []byte, at int64) int {
	n, _ := io.ReadFull(io.NewSectionReader(file, at, int64(len(buffer))), buffer)
	return n
}
