/** A chart over uPlot: lines or bars over numbers. Loaded with the pages that show one. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Series {
  label: string;
  values: (number | null)[];
  /** Few points, far apart: they are joined, and each is shown. */
  sparse?: boolean;
}

interface Props {
  title: string;
  x: number[];
  series: Series[];
  show: (value: number) => string;
  showX?: (value: number) => string;
  /** What x counts. */
  unitX?: string;
  bars?: boolean;
  /** The y axis begins at 0. */
  fromZero?: boolean;
  /** A part was chosen with the pointer. */
  onRange?: (from: number, to: number) => void;
}

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Changes with the colour scheme. */
function useScheme(): boolean {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const changed = () => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

export function Chart(props: Props) {
  const { title, x, series, show } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const handlers = useRef(props);
  handlers.current = props;
  const [at, setAt] = useState<number | null>(null);
  const dark = useScheme();
  const shape = series.map(({ label, sparse }) => `${label}${sparse}`).join();

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new uPlot(
      options(handlers.current, element, setAt, handlers),
      data(handlers.current),
      element,
    );
    plot.current = made;
    const resize = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: element.clientHeight })
    );
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, shape, props.bars]);
  useEffect(() => plot.current?.setData(data(props)), [x, ...series.map(({ values }) => values)]);

  const place_ = at !== null && at < x.length ? at : null;
  const step = place_ === null ? null : x[place_] ?? null;
  return (
    <figure class="chart">
      <figcaption>
        {title}
        <span class="legend" aria-hidden="true">
          {step !== null && <span>{props.unitX} {(props.showX ?? label)(step)}</span>}
          {series.map(({ label, values }, n) => {
            const value = place_ === null ? lastOf(values) : values[place_] ?? null;
            return (
              <span key={label} class={n === 0 ? "" : "second"}>
                <i />
                {series.length > 1 ? `${label} ` : ""}
                {value === null ? "–" : show(value)}
              </span>
            );
          })}
        </span>
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={describe(props)} />
    </figure>
  );
}

const data = ({ x, series }: Props): uPlot.AlignedData => [x, ...series.map(({ values }) => values)];

function options(
  props: Props,
  element: HTMLElement,
  setAt: (index: number | null) => void,
  handlers: { current: Props },
): uPlot.Options {
  const [line, quiet] = [colour("--line"), colour("--quiet")];
  const colours = [colour("--accent"), colour("--second")];
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
    cursor: { y: false, drag: { x: handlers.current.onRange !== undefined, y: false, setScale: false } },
    scales: {
      x: { time: false, ...(props.bars ? { range: (_, low, high) => [low - 0.6, high + 0.6] } : {}) },
      y: props.fromZero ? { range: (_, __, high) => [0, (high ?? 0) > 0 ? high * 1.08 : 1] } : {},
    },
    axes: [
      {
        ...axis,
        space: 70,
        values: (_, all) => all.map((v) => (handlers.current.showX ?? label)(v)),
        incrs: whole,
      },
      { ...axis, size: 68, values: (_, all) => all.map((v) => v === null ? "" : handlers.current.show(v)) },
    ],
    series: [
      {},
      ...props.series.map(({ label, sparse }, n): uPlot.Series => ({
        label,
        stroke: colours[n % 2] ?? quiet,
        width: props.bars ? 0 : 1.5,
        ...(sparse ? { spanGaps: true, points: { show: true, size: 5 } } : {}),
        ...(props.bars
          ? { paths: uPlot.paths.bars?.({ size: [0.7, 40] }), fill: colours[n % 2], points: { show: false } }
          : {}),
      })),
    ],
    hooks: {
      setCursor: [(chart) => setAt(chart.cursor.idx ?? null)],
      setSelect: [(chart) => {
        const { left, width } = chart.select;
        if (width < 4) return;
        handlers.current.onRange?.(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
        chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
}

const label = (value: number) => value.toLocaleString();
/** Steps and days are whole. */
const whole = [1, 2, 5].flatMap((first) => Array.from({ length: 8 }, (_, power) => first * 10 ** power))
  .sort((a, b) => a - b);

function lastOf(values: (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

/** The chart in words. */
function describe({ title, x, series, show, showX = label, unitX }: Props): string {
  const place = (value: number) => unitX === undefined ? showX(value) : `${unitX} ${showX(value)}`;
  const parts = series.flatMap(({ label, values }) => {
    const seen = values.flatMap((value, n) => value === null ? [] : [{ value, at: x[n] ?? 0 }]);
    const [first, last] = [seen.at(0), seen.at(-1)];
    if (first === undefined || last === undefined) return [];
    const least = seen.reduce((a, b) => b.value < a.value ? b : a);
    const most = seen.reduce((a, b) => b.value > a.value ? b : a);
    return [
      `${label}: ${show(first.value)} at ${place(first.at)}, ${show(last.value)} at ${place(last.at)}, ` +
      `lowest ${show(least.value)} at ${place(least.at)}, highest ${show(most.value)} at ${place(most.at)}`,
    ];
  });
  return `${title}. ${parts.length === 0 ? "No figures yet" : parts.join("; ")}.`;
}
