/** The scores of answers in evaluations: the trainer's cases, tool calls and graders. */
import { assertEquals } from "#assert";
import { Grader } from "../../supabase/functions/_shared/contracts/graders.ts";
import { scoreAnswer } from "../../supabase/functions/tunebase-scheduler/evaluations/score.ts";

Deno.test("answers are scored like in the trainer", async () => {
  const cases: Record<string, unknown>[] = JSON.parse(
    await Deno.readTextFile(new URL("../../trainer/tests/evaluation/score_cases.json", import.meta.url)),
  );
  for (const { expected, answer, ...scores } of cases) {
    const { graders: _, ...given } = scoreAnswer(String(expected), String(answer), []);
    assertEquals<Record<string, unknown>>(given, scores, `${expected} | ${answer}`);
  }
});

Deno.test("tool calls are compared as JSON", () => {
  const expected = '[{"name":"get_order","arguments":{"id":7,"full":true}}]';
  const exact = (answer: string) => scoreAnswer(expected, answer, [], { isJson: true }).exact_match;
  assertEquals(exact('[{"arguments":{"full":true,"id":7},"name":"get_order"}]'), true);
  assertEquals(exact('[{"arguments":{"full":true,"id":8},"name":"get_order"}]'), false);
  assertEquals(exact("get_order"), false);
});

Deno.test("graders support text and regular expressions with or without case, and cannot hang on a pattern", () => {
  const graders = [
    { type: "contains", value: "Refund" },
    { type: "contains", value: "Refund", ignore_case: true },
    { type: "regex", pattern: "^your REFUND" },
    { type: "regex", pattern: "^your REFUND", ignore_case: true },
    { type: "regex", pattern: "^(a+)+$" },
  ].map((grader) => Grader.parse(grader));
  assertEquals(scoreAnswer("x", "Your refund is due", graders).graders, [false, true, false, true, false]);
  assertEquals(scoreAnswer("x", `${"a".repeat(50_000)}!`, graders).graders.at(-1), false);
});
