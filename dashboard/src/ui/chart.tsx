/** A line or bar chart (uPlot). Only the pages that show one load it. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Series {
  label: string;
  values: (number | null)[];
  /** For sparse data: draws each point and connects them across gaps. */
  sparse?: boolean;
  /** Connects points across gaps, because its x values differ from those of the other series. */
  connected?: boolean;
}

interface Props {
  title: string;
  x: number[];
  series: Series[];
  format: (value: number) => string;
  formatX?: (value: number) => string;
  /** The unit of x: "step". */
  unitX?: string;
  bars?: boolean;
  /** Starts the y axis at 0. */
  fromZero?: boolean;
  /** The x axis reaches at least this far. */
  until?: number | undefined;
  /** The user selected a range by dragging. */
  onRange?: (from: number, to: number) => void;
}

/** The colors of the series, in order. `.color-n` in style/data.css has the same. */
const seriesColors = ["--accent", "--second", "--third", "--fourth", "--fifth", "--sixth"];
const cssColor = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Whether the browser prefers the dark color scheme. */
function usePrefersDark(): boolean {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const update = () => setDark(query.matches);
    query.addEventListener("change", update);
    return () => query.removeEventListener("change", update);
  }, []);
  return dark;
}

export function Chart(props: Props) {
  const { title, x, series, format } = props;
  const container = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latestProps = useRef(props);
  latestProps.current = props;
  const [cursor, setCursor] = useState<number | null>(null);
  const dark = usePrefersDark();
  // Recreate the plot only when its structure changes.
  const structure = series.map(({ label, sparse }) => `${label}${sparse}`)
    .join();

  useEffect(() => {
    const element = container.current;
    if (element === null) return;
    const created = new uPlot(
      buildOptions(latestProps, element, setCursor),
      toData(latestProps.current),
      element,
    );
    plot.current = created;
    const resize = new ResizeObserver(() =>
      created.setSize({
        width: element.clientWidth,
        height: element.clientHeight,
      })
    );
    resize.observe(element);
    return () => {
      resize.disconnect();
      created.destroy();
      plot.current = null;
    };
  }, [dark, structure, props.bars]);
  useEffect(() => plot.current?.setData(toData(props)), [
    x,
    ...series.map(({ values }) => values),
  ]);

  const index = cursor !== null && cursor < x.length ? cursor : null;
  const selectedX = index === null ? null : x[index] ?? null;
  return (
    <figure class="chart">
      <figcaption>
        {title}
        <span class="legend" aria-hidden="true">
          {selectedX !== null && (
            <span>
              {props.unitX} {(props.formatX ?? formatInteger)(selectedX)}
            </span>
          )}
          {series.map(({ label, values }, n) => {
            const value = index === null ? lastOf(values) : values[index] ?? null;
            return (
              <span key={label} class={`color-${n % seriesColors.length}`}>
                <i />
                {series.length > 1 ? `${label} ` : ""}
                {value === null ? "–" : format(value)}
              </span>
            );
          })}
        </span>
      </figcaption>
      <div
        class="plot"
        ref={container}
        role="img"
        aria-label={describe(props)}
      />
    </figure>
  );
}

const toData = (
  { x, series }: Props,
): uPlot.AlignedData => [x, ...series.map(({ values }) => values)];

/** Reads callbacks from `props.current`, which is up to date when they are called. */
function buildOptions(
  props: { current: Props },
  element: HTMLElement,
  setCursor: (index: number | null) => void,
): uPlot.Options {
  const { bars, fromZero, series } = props.current;
  const [line, quiet] = [cssColor("--line"), cssColor("--quiet")];
  const colors = seriesColors.map(cssColor);
  const axis = {
    stroke: quiet,
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1 },
    font: "12px system-ui",
  };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    legend: { show: false },
    cursor: {
      y: false,
      drag: {
        x: props.current.onRange !== undefined,
        y: false,
        setScale: false,
      },
    },
    scales: {
      x: {
        time: false,
        range: (_, low, high) =>
          bars ? [low - 0.6, high + 0.6] : [low, Math.max(high, props.current.until ?? high)],
      },
      y: fromZero ? { range: (_, __, high) => [0, (high ?? 0) > 0 ? high * 1.08 : 1] } : {},
    },
    axes: [
      {
        ...axis,
        space: 70,
        values: (_, all) => all.map((v) => (props.current.formatX ?? formatInteger)(v)),
        incrs: integerIncrements,
      },
      {
        ...axis,
        size: 68,
        values: (_, all) => all.map((v) => v === null ? "" : props.current.format(v)),
      },
    ],
    series: [
      {},
      ...series.map(({ label, sparse, connected }, n): uPlot.Series => ({
        label,
        stroke: colors[n % colors.length] ?? quiet,
        width: bars ? 0 : 1.5,
        ...(sparse ? { points: { show: true, size: 5 } } : {}),
        spanGaps: sparse === true || connected === true,
        ...(bars
          ? {
            paths: uPlot.paths.bars?.({ size: [0.7, 40] }),
            fill: colors[n % colors.length],
            points: { show: false },
          }
          : {}),
      })),
    ],
    hooks: {
      setCursor: [(chart) => setCursor(chart.cursor.idx ?? null)],
      setSelect: [(chart) => {
        const { left, width } = chart.select;
        if (width < 4) return;
        props.current.onRange?.(
          chart.posToVal(left, "x"),
          chart.posToVal(left + width, "x"),
        );
        chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
}

const formatInteger = (value: number) => value.toLocaleString();
/** Tick distances of the x axis: steps and days are integers. */
const integerIncrements = [1, 2, 5].flatMap((first) =>
  Array.from({ length: 8 }, (_, power) => first * 10 ** power)
)
  .sort((a, b) => a - b);

function lastOf(values: (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

/** A text alternative for the chart. */
function describe(
  { title, x, series, format, formatX = formatInteger, unitX }: Props,
): string {
  const position = (value: number) => unitX === undefined ? formatX(value) : `${unitX} ${formatX(value)}`;
  const parts = series.flatMap(({ label, values }) => {
    const points = values.flatMap((value, n) => value === null ? [] : [{ value, at: x[n] ?? 0 }]);
    const [first, last] = [points.at(0), points.at(-1)];
    if (first === undefined || last === undefined) return [];
    const min = points.reduce((a, b) => b.value < a.value ? b : a);
    const max = points.reduce((a, b) => b.value > a.value ? b : a);
    return [
      `${label}: ${format(first.value)} at ${position(first.at)}, ${format(last.value)} at ${
        position(last.at)
      }, ` +
      `lowest ${format(min.value)} at ${position(min.at)}, highest ${format(max.value)} at ${
        position(max.at)
      }`,
    ];
  });
  return `${title}. ${parts.length === 0 ? "No data yet" : parts.join("; ")}.`;
}
