package org.reactorvfio.samples.irqtop;

import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What the program was called with.
 *
 * @param command what to do
 * @param operands what to do it with: devices, or a device, an index and a vector
 * @param options the options given, with their values; empty for one that takes none
 */
record Arguments(Command command, List<String> operands, Map<Option, String> options) {
  private static final Pattern DURATION = Pattern.compile("(\\d+(?:\\.\\d+)?)(ms|s|m|h)?");

  /** What there is to do. */
  enum Command {
    TOP(0, Integer.MAX_VALUE, "[DEVICE...]"),
    LIST(0, Integer.MAX_VALUE, "[SERVER...]"),
    CONFIG(1, 1, "DEVICE"),
    WATCH(3, 3, "DEVICE INDEX VECTOR");

    private final int least;
    private final int most;
    private final String operands;

    Command(int least, int most, String operands) {
      this.least = least;
      this.most = most;
      this.operands = operands;
    }
  }

  /** The options, and the commands that know them; all of them if none is named. */
  enum Option {
    HELP(false),
    TOKEN_FILE(true),
    CA(true),
    CERT(true),
    KEY(true),
    BUS_MASTER(false, Command.TOP, Command.WATCH),
    INTERVAL(true, Command.TOP),
    COUNT(true, Command.TOP, Command.WATCH),
    ONCE(false, Command.TOP),
    BATCH(false, Command.TOP),
    NO_COLOUR(false, Command.TOP),
    FOR(true, Command.WATCH),
    HEX(false, Command.CONFIG),
    JSON(false, Command.CONFIG, Command.LIST);

    private final boolean takesValue;
    private final List<Command> commands;

    Option(boolean takesValue, Command... commands) {
      this.takesValue = takesValue;
      this.commands = List.of(commands);
    }

    @Override
    public String toString() {
      return "--" + name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    private static Option parse(String text) {
      // As the rest of the world spells it, too.
      String name = text.equals("--no-color") ? "--no-colour" : text.equals("-h") ? "--help" : text;
      for (Option option : values()) {
        if (option.toString().equals(name)) {
          return option;
        }
      }
      throw new UsageException("there is no option " + text);
    }
  }

  /** Reads the command line; fails with {@link UsageException}. */
  static Arguments parse(String... args) {
    Optional<Command> command = Optional.empty();
    List<String> operands = new ArrayList<>();
    Map<Option, String> options = new EnumMap<>(Option.class);
    boolean onlyOperands = false;
    for (int i = 0; i < args.length; i++) {
      String arg = args[i];
      if (arg.equals("--") && !onlyOperands) {
        onlyOperands = true;
      } else if (arg.startsWith("-") && !onlyOperands) {
        int equals = arg.indexOf('=');
        Option option = Option.parse(equals < 0 ? arg : arg.substring(0, equals));
        String value = equals < 0 ? "" : arg.substring(equals + 1);
        if (option.takesValue && equals < 0) {
          i++;
          if (i == args.length) {
            throw new UsageException(option + " needs a value");
          }
          value = args[i];
        } else if (!option.takesValue && equals >= 0) {
          throw new UsageException(option + " takes no value");
        }
        options.put(option, value);
      } else if (!onlyOperands && command.isEmpty() && operands.isEmpty() && isCommand(arg)) {
        command = Optional.of(Command.valueOf(arg.toUpperCase(Locale.ROOT)));
      } else {
        operands.add(arg);
      }
    }
    Arguments all =
        new Arguments(command.orElse(Command.TOP), List.copyOf(operands), Map.copyOf(options));
    if (!all.has(Option.HELP)) {
      all.check();
    }
    return all;
  }

  private static boolean isCommand(String arg) {
    for (Command command : Command.values()) {
      if (command.name().toLowerCase(Locale.ROOT).equals(arg)) {
        return true;
      }
    }
    return false;
  }

  private void check() {
    String name = command.name().toLowerCase(Locale.ROOT);
    if (operands.size() < command.least || operands.size() > command.most) {
      throw new UsageException(name + " takes " + command.operands);
    }
    for (Option option : options.keySet()) {
      if (!option.commands.isEmpty() && !option.commands.contains(command)) {
        throw new UsageException(name + " has no option " + option);
      }
    }
    if (has(Option.CERT) != has(Option.KEY)) {
      throw new UsageException("--cert and --key go together");
    }
    if (has(Option.HEX) && has(Option.JSON)) {
      throw new UsageException("--hex and --json exclude each other");
    }
    // What is wrong with a value is said before anything is opened.
    duration(Option.INTERVAL);
    duration(Option.FOR);
    count();
  }

  boolean has(Option option) {
    return options.containsKey(option);
  }

  Optional<String> value(Option option) {
    return Optional.ofNullable(options.get(option));
  }

  /** The value of {@code --count}. */
  Optional<Long> count() {
    return value(Option.COUNT).map(text -> {
      if (!text.matches("[1-9]\\d{0,17}")) {
        throw new UsageException("--count takes a number from 1, not " + text);
      }
      return Long.parseLong(text);
    });
  }

  /** The value of an option that takes a time, such as {@code 500ms}, {@code 2}, {@code 2.5s}, {@code 10m} or {@code 1h}. */
  Optional<Duration> duration(Option option) {
    return value(option).map(text -> {
      Matcher matcher = DURATION.matcher(text);
      if (matcher.matches()) {
        double number = Double.parseDouble(matcher.group(1));
        String unit = matcher.group(2) == null ? "s" : matcher.group(2);
        double millis = number
            * switch (unit) {
              case "ms" -> 1;
              case "m" -> 60_000;
              case "h" -> 3_600_000;
              default -> 1000;
            };
        // What is longer than ten years, or shorter than a clock's tick, was not meant.
        if (millis >= 1 && millis < 3.2e11) {
          return Duration.ofMillis(Math.round(millis));
        }
      }
      throw new UsageException(option + " takes a time such as 500ms, 2s or 1m, not " + text);
    });
  }
}
