/**
 * `completion`: a script for the shell, made of the program's own commands and options. It needs nothing but the shell, and
 * what is no command or option is completed as a file. (`@bomb.sh/tab` 0.0.22 was tried: its bash script needs the package
 * bash-completion, completes no files, and starts the program at each Tab.)
 */
import { Argument, type Command } from "./command.ts";
import { print } from "./output.ts";

export function addCompletion(program: Command): void {
  program.command("completion").description("Print a script that completes commands and options at Tab")
    .addArgument(new Argument("<shell>", "which").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
Put this into the shell's start file:
  bash  ~/.bashrc                    source <(tunebase completion bash)
  zsh   ~/.zshrc, after compinit     source <(tunebase completion zsh)
  fish  ~/.config/fish/config.fish   tunebase completion fish | source`,
    )
    .action((shell: string) => {
      const nodes = walk(program, "");
      print(shell === "fish" ? fish(nodes) : shell === "zsh" ? zsh(nodes) : bash(nodes));
    });
}

interface Node {
  /** "" for the program, "jobs", "jobs create". */
  path: string;
  commands: { name: string; description: string }[];
  options: { name: string; description: string; takesValue: boolean }[];
}

function walk(command: Command, path: string): Node[] {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  return [
    {
      path,
      commands: children.map((child) => ({ name: child.name(), description: child.description() })),
      options: help.visibleOptions(command).flatMap((option) =>
        option.long
          ? [{
            name: option.long,
            description: option.description,
            takesValue: option.required || option.optional,
          }]
          : []
      ),
    },
    ...children.flatMap((child) => walk(child, `${path} ${child.name()}`.trim())),
  ];
}

const names = ({ commands, options }: Node) => [
  commands.map(({ name }) => name).join(" "),
  options.map(({ name }) => name).join(" "),
];

/** What bash and zsh share: which command the words so far name, and what may come next. */
function body(nodes: Node[]): string {
  const groups = nodes.filter(({ commands }) => commands.length > 0);
  const next = groups.flatMap(({ path, commands }) =>
    commands.map(({ name }) => `"${`${path} ${name}`.trim()}"`)
  );
  return `  for word in "\${before[@]}"; do
    case "\${at:+$at }$word" in
      ${next.join("|")}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at" in
${
    nodes.map((node) => {
      const [commands, options] = names(node);
      return `    "${node.path}") commands="${commands}" options="${options}" ;;`;
    }).join("\n")
  }
  esac
  [[ $now == -* ]] && commands=$options`;
}

function bash(nodes: Node[]): string {
  return `_tunebase() {
  local now=\${COMP_WORDS[COMP_CWORD]} at="" word commands options
  local before=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
${body(nodes)}
  COMPREPLY=($(compgen -W "$commands" -- "$now"))
}
complete -o default -F _tunebase tunebase`;
}

function zsh(nodes: Node[]): string {
  return `_tunebase() {
  local now=\${words[CURRENT]} at="" word commands options
  local -a before=("\${(@)words[2,CURRENT-1]}")
${body(nodes)}
  if [[ -n $commands ]]; then compadd -- \${=commands}; else _files; fi
}
compdef _tunebase tunebase`;
}

function fish(nodes: Node[]): string {
  const quoted = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = nodes.flatMap(({ path, commands, options }) => {
    const words = path === "" ? [] : path.split(" ");
    const seen = words.map((word) => `__fish_seen_subcommand_from ${word}`);
    const here = commands.length > 0
      ? [...seen, `not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(" ")}`]
      : seen;
    const when = quoted(here.join("; and "));
    return [
      ...commands.map(({ name, description }) =>
        `complete -c tunebase -f -n ${when} -a ${name} -d ${quoted(description)}`
      ),
      ...options.map(({ name, description, takesValue }) =>
        `complete -c tunebase -n ${when} -l ${name.slice(2)}${takesValue ? " -r" : ""} -d ${
          quoted(description)
        }`
      ),
    ];
  });
  return lines.join("\n");
}
