package org.reactorvfio.samples.irqtop;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.time.Clock;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.reactorvfio.samples.irqtop.Arguments.Option;
import org.reactorvfio.samples.irqtop.ConfigCommand.Form;
import reactor.core.Exceptions;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;

/** Shows the interrupts of devices of this machine, or of other processes' devices: see {@code --help}. */
final class Irqtop {
  static final int OK = 0;
  static final int FAILED = 1;
  static final int USAGE = 2;

  static final String HELP = """
      irqtop shows the interrupts of devices.

        irqtop [top] [DEVICE...]              which vectors are signalled, and how often
        irqtop list [SERVER...]               this machine's PCI functions, or servers' devices
        irqtop config DEVICE                  a device's configuration space
        irqtop watch DEVICE INDEX VECTOR      every signal of a vector, a line of JSON each

      A DEVICE is
        0000:01:00.0                          a function of this machine, bound to vfio-pci; irqtop opens it
        http://HOST:PORT/NAME                 one that another process exports; also https://
        unix:///PATH#NAME                     the same, over a Unix-domain socket
        demo                                  an emulated one, for trying; it is what top shows by default
      An INDEX is intx, msi, msix, err, req, or its number.

      top
        --interval TIME    how often to look: 500ms, 2s, 1m; 2s by default
        --count N          ends after so many views
        --once             the same as --count 1
        --batch            prints one view after the other, as if the output were no terminal
        --no-colour        no colours; so does the environment variable NO_COLOR
      watch
        --count N          ends after so many elements
        --for TIME         ends after this time
      top, watch
        --bus-master       lets a function of this machine send MSI and MSI-X, and with that do DMA
      config
        --hex              the bytes
        --json             one line of JSON
      list
        --json             a line of JSON for each device
      Servers
        --token-file FILE  the token is in this file; else in the environment variable IRQTOP_TOKEN. It is
                           never on the command line, which everybody on the machine can read
        --ca FILE          who vouches for servers, PEM
        --cert FILE, --key FILE
                           what irqtop shows of itself, PEM

      Ends with 0 if all went well, 1 if something failed, 2 if it was called wrongly, 130 by ctrl-C.
      """;

  private final Arguments arguments;
  private final Map<String, String> environment;
  private final Output out;
  private final PrintStream err;
  private final Clock clock;
  private final Sinks.Empty<Void> stop = Sinks.empty();

  Irqtop(
      Arguments arguments,
      Map<String, String> environment,
      Output out,
      PrintStream err,
      Clock clock) {
    this.arguments = arguments;
    this.environment = environment;
    this.out = out;
    this.err = err;
    this.clock = clock;
  }

  public static void main(String[] args) {
    // What there is to say is said in a line of ours.
    Logger.getLogger("").setLevel(Level.OFF);
    System.exit(run(
        new FileOutputStream(FileDescriptor.out),
        System.err,
        System.getenv(),
        Clock.systemDefaultZone(),
        args));
  }

  /** Runs the program and returns its exit code. */
  static int run(
      OutputStream stdout,
      PrintStream err,
      Map<String, String> environment,
      Clock clock,
      String... args) {
    Output out = new Output(stdout);
    try {
      Arguments arguments = Arguments.parse(args);
      if (arguments.has(Option.HELP)) {
        out.print(HELP);
        out.flush();
        return OK;
      }
      int code = new Irqtop(arguments, environment, out, err, clock).run();
      out.flush();
      return code;
    } catch (RuntimeException failure) {
      Throwable e = Exceptions.unwrap(failure);
      if (e instanceof Output.Gone) {
        return OK;
      }
      boolean usage = e instanceof UsageException;
      err.println("irqtop: " + Problem.of("", e) + (usage ? "; see irqtop --help" : ""));
      return usage ? USAGE : FAILED;
    }
  }

  private int run() {
    Access access = Access.of(arguments, environment);
    Devices devices = new Devices(access);
    List<String> operands = arguments.operands();
    return switch (arguments.command()) {
      case LIST ->
        print(ListCommand.run(
            operands.stream().map(Target::server).toList(), access, arguments.has(Option.JSON)));
      case CONFIG -> {
        Target target = Target.parse(operands.get(0));
        Form form = arguments.has(Option.HEX)
            ? Form.HEX
            : arguments.has(Option.JSON) ? Form.JSON : Form.TEXT;
        yield print(devices.use(
            target, opened -> ConfigCommand.run(opened.device(), target.label(), form)));
      }
      case WATCH -> {
        Target target = Target.parse(operands.get(0));
        int index = WatchCommand.index(operands.get(1));
        int vector = WatchCommand.vector(operands.get(2));
        yield print(devices.use(
            target,
            opened -> WatchCommand.run(
                    Signals.one(opened, index, vector, arguments.has(Option.BUS_MASTER)),
                    arguments.count(),
                    arguments.duration(Option.FOR),
                    clock)
                .takeUntilOther(stop.asMono())));
      }
      case TOP -> top(access);
    };
  }

  /** Prints lines as they come. While one is being printed no other is asked for, so that what nobody reads is not taken either. */
  private int print(Flux<String> lines) {
    return ended(
        lines
            .publishOn(Schedulers.boundedElastic(), 1)
            .doOnNext(line -> {
              out.line(line);
              out.flush();
            })
            .then(Mono.just(OK)),
        stop::tryEmitEmpty);
  }

  private int top(Access access) {
    boolean demonstration = arguments.operands().isEmpty();
    List<Target> targets = demonstration
        ? List.of(new Target.Demo())
        : arguments.operands().stream().map(Target::parse).toList();
    if (targets.stream().anyMatch(Target.Remote.class::isInstance)) {
      access.needToken();
    }
    boolean batch = arguments.has(Option.BATCH) || !Terminal.is(1);
    // A demonstration that nobody watches ends by itself.
    Optional<Long> count = arguments.has(Option.ONCE)
        ? Optional.of(1L)
        : arguments.count().or(() -> demonstration && batch ? Optional.of(3L) : Optional.empty());
    TopCommand top = new TopCommand(
        new Looking(access, arguments.has(Option.BUS_MASTER)),
        targets,
        arguments.duration(Option.INTERVAL).orElse(Duration.ofSeconds(2)),
        count);
    List<String> problems = batch ? inBatch(top) : onScreen(top);
    problems.forEach(problem -> err.println("irqtop: " + problem));
    return problems.isEmpty() ? OK : FAILED;
  }

  private List<String> inBatch(TopCommand top) {
    return ended(
        top.run(
            (view, time) -> {
              view.lines(time).forEach(out::line);
              out.line("");
              out.flush();
            },
            clock),
        top::stop);
  }

  private List<String> onScreen(TopCommand top) {
    Terminal terminal = new Terminal(out);
    boolean colour = !arguments.has(Option.NO_COLOUR)
        && environment.getOrDefault("NO_COLOR", "").isEmpty();
    terminal.enter();
    try {
      terminal.quit().subscribe(ended -> {}, e -> {}, top::stop);
      return ended(
          top.run((view, time) -> terminal.show(view.lines(time, Terminal.size(), colour)), clock),
          top::stop);
    } finally {
      terminal.restore();
    }
  }

  /** Waits for the end. Ctrl-C ends it in order: devices are closed, which takes no longer than they need. */
  private static <T> T ended(Mono<T> work, Runnable stop) {
    CountDownLatch over = new CountDownLatch(1);
    Thread hook = new Thread(
        () -> {
          stop.run();
          try {
            over.await(5, TimeUnit.SECONDS);
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
        },
        "irqtop-stop");
    Runtime.getRuntime().addShutdownHook(hook);
    try {
      return work.block();
    } finally {
      over.countDown();
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // It is what has ended us.
      }
    }
  }
}
