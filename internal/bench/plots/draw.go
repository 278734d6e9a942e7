package main

import (
	"bytes"
	"image/color"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A theme is how plots look on a light or a dark page.
type theme struct {
	suffix     string // of the file's name
	background color.Color
	text, grid color.Color
	ours       color.Color
	peer       color.Color
	peerLines  []color.Color
}

var (
	light = theme{
		background: color.White, text: rgb(0x1f2328), grid: rgb(0xd0d7de), ours: rgb(0x0969da),
		peer: rgb(0x8c959f), peerLines: []color.Color{rgb(0xbc4c00), rgb(0x1a7f37), rgb(0x8250df), rgb(0x9a6700)},
	}
	dark = theme{
		suffix: "-dark", background: rgb(0x0d1117), text: rgb(0xe6edf3), grid: rgb(0x30363d), ours: rgb(0x4493f8),
		peer: rgb(0x6e7681), peerLines: []color.Color{rgb(0xf0883e), rgb(0x3fb950), rgb(0xab7df8), rgb(0xd29922)},
	}
)

func rgb(hex uint32) color.Color {
	return color.NRGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 0xff}
}

const (
	width     = 18 * vg.Centimeter
	margin    = 0.5 * vg.Centimeter
	barHeight = 0.3 * vg.Centimeter
	rowHeight = 0.95 * vg.Centimeter

	// The font of all text, and those of the same widths that stand in for it.
	family   = "font-family:Liberation Sans"
	families = family + ",Arial,Helvetica,sans-serif"
)

// drawAll returns the plots of one theme by the names of their files.
func drawAll(readme string, th theme) (map[string][]byte, error) {
	plots := map[string][]byte{}
	for name, one := range map[string]func(string, theme) (*plot.Plot, vg.Length, error){
		"request": drawRequest, "redis": drawRedis, "stalls": drawStalls, "growth": drawGrowth, "growthredis": drawGrowthRedis,
	} {
		p, height, err := one(readme, th)
		if err != nil {
			return nil, err
		}
		canvas := vgsvg.New(width, height)
		page := draw.New(canvas)
		canvas.SetColor(th.background)
		canvas.Fill(page.Rectangle.Path())
		p.Draw(draw.Crop(page, margin, -margin, margin, -margin))
		var svg bytes.Buffer
		if _, err := canvas.WriteTo(&svg); err != nil {
			return nil, err
		}
		plots[name] = bytes.ReplaceAll(svg.Bytes(), []byte(family), []byte(families))
	}
	return plots, nil
}

// A bar is one row of a bar chart.
type bar struct {
	name  string
	value float64
}

// drawRequest shows the CPU that a protected request costs in one process.
func drawRequest(readme string, th theme) (*plot.Plot, vg.Length, error) {
	t, err := tableOf(readme, "protected")
	if err != nil {
		return nil, 0, err
	}
	var rows []bar
	for _, row := range t.rows {
		v, err := t.value(row, "CPU")
		if err != nil {
			return nil, 0, err
		}
		rows = append(rows, bar{row[0], v})
	}
	return barChart(th, "CPU of one protected request, in microseconds: less is better", "µs", rows)
}

// drawStalls shows the longest response time while sessions expire.
func drawStalls(readme string, th theme) (*plot.Plot, vg.Length, error) {
	t, err := tableOf(readme, "stalls")
	if err != nil {
		return nil, 0, err
	}
	var rows []bar
	for _, row := range t.rows {
		for _, expire := range []string{"none expire", "a tenth", "all"} {
			v, err := t.value(row, expire)
			if err != nil {
				return nil, 0, err
			}
			rows = append(rows, bar{row[0] + ": " + strings.TrimSuffix(expire, " expire") + " expire", v})
		}
	}
	return barChart(th, "Longest response time while sessions expire, in milliseconds: less is better", "ms", rows)
}

// drawRedis shows how many protected requests there are in a second, by the number of clients.
func drawRedis(readme string, th theme) (*plot.Plot, vg.Length, error) {
	t, err := tableOf(readme, "redis")
	if err != nil {
		return nil, 0, err
	}
	p := newPlot(th, "Requests per second on Redis (logarithmic), by the number of clients: more is better")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, powersOfTen(1e3, 1e6)
	p.NominalX("1 client", "16 clients", "64 clients")
	p.Add(grid(th))
	peers := 0
	for _, row := range t.rows {
		if strings.HasPrefix(row[0], "floor: ") || strings.HasSuffix(row[0], "nothing slides") { // no library, or another task
			continue
		}
		var points plotter.XYs
		for i, clients := range []string{"1 client", "16 clients", "64 clients"} {
			v, err := t.value(row, clients+": requests/s")
			if err != nil {
				return nil, 0, err
			}
			points = append(points, plotter.XY{X: float64(i), Y: v})
		}
		lineColor, dashes := th.ours, []vg.Length(nil)
		switch {
		case !isOurs(row[0]):
			lineColor = th.peerLines[peers%len(th.peerLines)]
			if peers >= len(th.peerLines) {
				dashes = []vg.Length{vg.Points(2), vg.Points(3)}
			}
			peers++
		case strings.Contains(row[0], "CacheFor"):
			dashes = []vg.Length{vg.Points(6), vg.Points(3)}
		case row[0] != "sessionguard":
			dashes = []vg.Length{vg.Points(2), vg.Points(3)}
		}
		if err := addLine(p, row[0], points, lineColor, dashes); err != nil {
			return nil, 0, err
		}
	}
	p.Y.Min, p.Y.Max = 1000, 2e6
	p.Legend.Left, p.Legend.XOffs, p.Legend.YOffs = true, 6.5*vg.Centimeter, vg.Points(8)
	return p, 15 * vg.Centimeter, nil
}

// drawGrowth shows what requests cost in one process, by the number of sessions.
func drawGrowth(readme string, th theme) (*plot.Plot, vg.Length, error) {
	return growthCurves(readme, "growth", "CPU by the number of sessions in store.Memory, in µs (logarithmic): less is better", th)
}

// drawGrowthRedis shows what requests cost Redis, by the number of sessions.
func drawGrowthRedis(readme string, th theme) (*plot.Plot, vg.Length, error) {
	return growthCurves(readme, "growthredis", "CPU of Redis by the number of sessions in it, in µs (logarithmic): less is better", th)
}

// growthCurves draws each column of a table that has µs. Its first column is the number of
// sessions.
func growthCurves(readme, name, title string, th theme) (*plot.Plot, vg.Length, error) {
	t, err := tableOf(readme, name)
	if err != nil {
		return nil, 0, err
	}
	p := newPlot(th, title)
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, powersOfTen(1e3, 1e6)
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, powersOfTen(0.1, 100)
	p.Add(grid(th))
	colors := append([]color.Color{th.ours}, th.peerLines...)
	for column, kind := range t.header[1:] {
		var points plotter.XYs
		for _, row := range t.rows {
			x, err := t.value(row, t.header[0])
			if err != nil {
				return nil, 0, err
			}
			y, err := t.value(row, kind)
			if err != nil {
				return nil, 0, err
			}
			if strings.Contains(row[column+1], "µs") {
				points = append(points, plotter.XY{X: x, Y: y})
			}
		}
		if points == nil { // bytes
			continue
		}
		var dashes []vg.Length
		if column >= 2 { // what is below is still seen
			dashes = []vg.Length{vg.Points(6), vg.Points(3)}
		}
		if err := addLine(p, strings.ReplaceAll(kind, "`", ""), points, colors[column%len(colors)], dashes); err != nil {
			return nil, 0, err
		}
	}
	p.Y.Min, p.Y.Max = 0.1, 1000
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, true, vg.Points(8)
	return p, 10 * vg.Centimeter, nil
}

// addLine adds a line with dots, which its legend calls by name.
func addLine(p *plot.Plot, name string, points plotter.XYs, c color.Color, dashes []vg.Length) error {
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Width, line.Color, line.Dashes = vg.Points(2), c, dashes
	dots.Shape, dots.Color = draw.CircleGlyph{}, c
	p.Add(line, dots)
	p.Legend.Add(name, line, dots)
	return nil
}

// powersOfTen returns ticks at the powers of ten between from and to.
func powersOfTen(from, to float64) (ticks plot.ConstantTicks) {
	for value := from; value < to*1.5; value *= 10 {
		label := strconv.FormatFloat(value, 'f', -1, 64)
		for i := len(label) - 3; i > 0 && value >= 1000; i -= 3 {
			label = label[:i] + "," + label[i:]
		}
		ticks = append(ticks, plot.Tick{Value: value, Label: label})
	}
	return ticks
}

func isOurs(name string) bool { return strings.HasPrefix(name, "sessionguard") }

// barChart draws horizontal bars, the first row at the top. The name and the value of each
// are above it and begin where it begins, so that they fit in any font.
func barChart(th theme, title, unit string, rows []bar) (*plot.Plot, vg.Length, error) {
	slices.Reverse(rows) // the axis begins at the bottom
	p := newPlot(th, title)
	p.HideAxes()
	labels := plotter.XYLabels{}
	for i, row := range rows {
		one, err := plotter.NewBarChart(plotter.Values{row.value}, barHeight)
		if err != nil {
			return nil, 0, err
		}
		one.Horizontal, one.XMin, one.LineStyle.Width, one.Color = true, float64(i), 0, th.peer
		if isOurs(row.name) {
			one.Color = th.ours
		}
		p.Add(one)
		labels.XYs = append(labels.XYs, plotter.XY{Y: float64(i)})
		labels.Labels = append(labels.Labels, row.name+": "+strconv.FormatFloat(row.value, 'f', -1, 64)+" "+unit)
	}
	names, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, 0, err
	}
	for i := range names.TextStyle {
		names.TextStyle[i] = style(th, 9, text.XLeft, text.YBottom)
	}
	names.Offset = vg.Point{Y: barHeight/2 + vg.Points(2)}
	p.Add(names)
	p.X.Min, p.Y.Min, p.Y.Max = 0, -0.5, float64(len(rows))
	return p, rowHeight*vg.Length(len(rows)+1) + 2*margin, nil
}

// newPlot returns an empty plot in the colors of a theme.
func newPlot(th theme, title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = th.background
	p.Title.Text, p.Title.Padding = title, 0.3*vg.Centimeter
	p.Title.TextStyle = style(th, 10, text.XCenter, text.YTop)
	p.Legend.TextStyle = style(th, 9, text.XLeft, text.YCenter)
	p.Legend.Padding, p.Legend.ThumbnailWidth = vg.Points(8), vg.Points(30)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color = th.grid, th.grid
		axis.Tick.Label.Color, axis.Tick.Label.Font = th.text, sized(9)
	}
	return p
}

func style(th theme, size font.Length, x text.XAlignment, y text.YAlignment) text.Style {
	s := plot.New().Title.TextStyle // which has a handler of text
	s.Color, s.Font, s.XAlign, s.YAlign = th.text, sized(size), x, y
	return s
}

func sized(points font.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: points}
}

// grid returns vertical or horizontal lines behind the figures.
func grid(th theme) *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = th.grid, th.grid
	g.Vertical.Width, g.Horizontal.Width = vg.Points(0.5), vg.Points(0.5)
	return g
}
