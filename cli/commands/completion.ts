/**
 * `completion`: a shell script generated from the program's commands and options. It has no dependencies, and falls back
 * to completing file names. (`@bomb.sh/tab` 0.0.22 was tried: its bash script needs the bash-completion package,
 * completes no files, and starts the program on every Tab.)
 */
import { Argument, type Command } from "../command.ts";
import { print } from "../terminal/output.ts";

export function addCompletion(program: Command): void {
  program.command("completion").description("Print a shell completion script")
    .addArgument(new Argument("<shell>", "your shell").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
Add this line to your shell's startup file:
  bash  ~/.bashrc                    source <(tunebase completion bash)
  zsh   ~/.zshrc, after compinit     source <(tunebase completion zsh)
  fish  ~/.config/fish/config.fish   tunebase completion fish | source`,
    )
    .action((shell: string) => {
      const nodes = collectNodes(program, "");
      print(shell === "fish" ? fishScript(nodes) : shell === "zsh" ? zshScript(nodes) : bashScript(nodes));
    });
}

interface Node {
  /** "" for the program itself, then "jobs", "jobs create" and so on. */
  path: string;
  commands: { name: string; description: string }[];
  options: { name: string; description: string; takesValue: boolean }[];
}

/** A command and its subcommands, depth first. */
function collectNodes(command: Command, path: string): Node[] {
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
    ...children.flatMap((child) => collectNodes(child, `${path} ${child.name()}`.trim())),
  ];
}

const wordLists = ({ commands, options }: Node) => [
  commands.map(({ name }) => name).join(" "),
  options.map(({ name }) => name).join(" "),
];

/** Shared by bash and zsh: finds the command that the words so far name, and the words that can follow. */
function matchCommand(nodes: Node[]): string {
  const groups = nodes.filter(({ commands }) => commands.length > 0);
  const paths = groups.flatMap(({ path, commands }) =>
    commands.map(({ name }) => `"${`${path} ${name}`.trim()}"`)
  );
  return `  for word in "\${before[@]}"; do
    case "\${at:+$at }$word" in
      ${paths.join("|")}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at" in
${
    nodes.map((node) => {
      const [commands, options] = wordLists(node);
      return `    "${node.path}") commands="${commands}" options="${options}" ;;`;
    }).join("\n")
  }
  esac
  [[ $now == -* ]] && commands=$options`;
}

function bashScript(nodes: Node[]): string {
  return `_tunebase() {
  local now=\${COMP_WORDS[COMP_CWORD]} at="" word commands options
  local before=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
${matchCommand(nodes)}
  COMPREPLY=($(compgen -W "$commands" -- "$now"))
}
complete -o default -F _tunebase tunebase`;
}

function zshScript(nodes: Node[]): string {
  return `_tunebase() {
  local now=\${words[CURRENT]} at="" word commands options
  local -a before=("\${(@)words[2,CURRENT-1]}")
${matchCommand(nodes)}
  if [[ -n $commands ]]; then compadd -- \${=commands}; else _files; fi
}
compdef _tunebase tunebase`;
}

function fishScript(nodes: Node[]): string {
  const quoted = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = nodes.flatMap(({ path, commands, options }) => {
    const words = path === "" ? [] : path.split(" ");
    const conditions = words.map((word) => `__fish_seen_subcommand_from ${word}`);
    const when = commands.length > 0
      ? [...conditions, `not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(" ")}`]
      : conditions;
    const condition = quoted(when.join("; and "));
    return [
      ...commands.map(({ name, description }) =>
        `complete -c tunebase -f -n ${condition} -a ${name} -d ${quoted(description)}`
      ),
      ...options.map(({ name, description, takesValue }) =>
        `complete -c tunebase -n ${condition} -l ${name.slice(2)}${takesValue ? " -r" : ""} -d ${
          quoted(description)
        }`
      ),
    ];
  });
  return lines.join("\n");
}
