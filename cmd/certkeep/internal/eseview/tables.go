package eseview

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// Catalog is the tables of a database, as esentutl /mm prints them.
type Catalog struct {
	Path   string   `json:"path"`
	State  string   `json:"state"`
	Tables []Table  `json:"tables"`
	Notes  []string `json:"notes"`
}

// Table is a table with its columns and indexes.
type Table struct {
	Name       string   `json:"name"`
	ID         uint32   `json:"id"`
	Root       uint32   `json:"root"`                  // page
	LongValues uint32   `json:"long_values,omitempty"` // page that the tree of its long values begins with
	Template   string   `json:"template,omitempty"`
	System     bool     `json:"system"`
	Columns    []Column `json:"columns"`
	Indexes    []Index  `json:"indexes"`
	Rows       *uint64  `json:"rows,omitempty"` // if they were counted
	Unread     uint64   `json:"unread,omitempty"`
}

// Column is a column of a table.
type Column struct {
	ID       uint32   `json:"id"`
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Storage  string   `json:"storage"` // fixed, variable or tagged
	Size     int      `json:"size"`    // most bytes of a value; 0: no bound
	CodePage int      `json:"code_page,omitempty"`
	Flags    []string `json:"flags"`
	Default  string   `json:"default,omitempty"` // hexadecimal
	Derived  bool     `json:"derived,omitempty"` // from the template
}

// Index is an index of a table.
type Index struct {
	Name    string   `json:"name"`
	ID      uint32   `json:"id"`
	Root    uint32   `json:"root"`
	Flags   []string `json:"flags"`
	Columns []string `json:"columns"`
}

// OpenDatabase opens a database; its error names the file.
func OpenDatabase(files *Files, path string) (*ese.Database, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	db, err := ese.Open(f, f.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

// ReadCatalog lists the tables of a database, and counts their rows if told to:
// that reads all of the tables.
func ReadCatalog(ctx context.Context, files *Files, path string, count bool) (*Catalog, error) {
	db, err := OpenDatabase(files, path)
	if err != nil {
		return nil, err
	}
	c := &Catalog{Path: path, State: db.State().String(), Tables: []Table{}}
	for _, t := range db.Tables() {
		v := tableOf(t)
		if count {
			n, unread, err := countRows(ctx, t)
			if err != nil {
				return nil, err
			}
			v.Rows, v.Unread = &n, unread
		}
		c.Tables = append(c.Tables, v)
	}
	c.Notes = append([]string{}, db.Notes()...)
	return c, ctx.Err()
}

func tableOf(t *ese.Table) Table {
	v := Table{Name: t.Name(), ID: t.ID(), Root: t.Root(), Template: t.Template(), System: t.System(), Columns: []Column{}, Indexes: []Index{}}
	v.LongValues, _ = t.LongValues()
	for _, c := range t.Columns() {
		v.Columns = append(v.Columns, Column{c.ID, c.Name, c.Type.String(), storage(c.ID), c.Size, codePage(c), names(uint32(c.Flags), columnFlags),
			hex.EncodeToString(c.Default), c.Derived})
	}
	for _, x := range t.Indexes() {
		v.Indexes = append(v.Indexes, Index{x.Name, x.ObjectID, x.Root, names(x.Flags, indexFlags), append([]string{}, x.Columns...)})
	}
	return v
}

// codePage is that of texts; other columns have one that means nothing.
func codePage(c *ese.Column) int {
	if c.Type != ese.Text && c.Type != ese.LongText {
		return 0
	}
	return c.CodePage
}

// countRows counts the rows that can be read, and what cannot.
func countRows(ctx context.Context, t *ese.Table) (n, unread uint64, err error) {
	for _, rowErr := range t.Rows() {
		if err := ctx.Err(); err != nil {
			return n, unread, err
		}
		if rowErr != nil {
			unread++
			continue
		}
		n++
	}
	return n, unread, ctx.Err()
}
