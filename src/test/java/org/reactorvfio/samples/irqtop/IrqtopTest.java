package org.reactorvfio.samples.irqtop;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.bridge.Permission;
import org.reactorvfio.bridge.VfioBridge;
import org.reactorvfio.discovery.Finding;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import reactor.test.StepVerifier;

/** The program as it is called, on an emulated device that another one owns. */
class IrqtopTest {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final String TOKEN = "a token for the tests";
  private static final Clock CLOCK =
      Clock.fixed(Instant.parse("2026-11-25T12:00:01.5Z"), ZoneOffset.UTC);

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("nic")
      .classCode(0x020000, 1)
      .memoryBar(0, 4096)
      .intx()
      .msix(4)
      .build();
  private final ByteArrayOutputStream errors = new ByteArrayOutputStream();
  private VfioDevice owned;
  private VfioBridge bridge;

  @BeforeEach
  void open() {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().block(LIMIT);
    bridge = serve(VfioBridge.builder());
  }

  private VfioBridge serve(VfioBridge.Builder builder) {
    // With all that a client could do harm with.
    return builder
        .export(owned, Permission.values())
        .token(TOKEN, Permission.values())
        .start()
        .block(LIMIT);
  }

  @AfterEach
  void close() {
    bridge.close().then(owned.close()).block(LIMIT);
  }

  /** What a run came to. */
  private record Run(int code, String out, String err) {}

  private Run run(String... args) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    int code = run(out, args);
    return new Run(
        code, out.toString(StandardCharsets.UTF_8), errors.toString(StandardCharsets.UTF_8));
  }

  private int run(OutputStream out, String... args) {
    return Irqtop.run(
        out,
        new PrintStream(errors, true, StandardCharsets.UTF_8),
        Map.of("IRQTOP_TOKEN", TOKEN),
        CLOCK,
        args);
  }

  private String nic() {
    return bridge.uri() + "/nic";
  }

  private void raise(int vector, int times) {
    for (int i = 0; i < times; i++) {
      hardware.raiseMsix(vector);
    }
  }

  @Test
  void helpNamesEveryOption() {
    Run run = run("--help");
    assertThat(run.code()).isZero();
    assertThat(run.err()).isEmpty();
    for (Arguments.Option option : Arguments.Option.values()) {
      if (option != Arguments.Option.HELP) {
        assertThat(run.out()).contains(option.toString());
      }
    }
    assertThat(run("watch", "-h").out()).isEqualTo(run.out());
  }

  @Test
  void listsWhatAServerHas() {
    owned.interrupts().msix().enable(2).block(LIMIT);
    Run run = run("list", bridge.uri().toString());
    String pad = " ".repeat(nic().length() - "DEVICE".length());
    assertThat(run.out())
        .isEqualTo("DEVICE" + pad + "  KIND  INTERRUPTS                    ALLOWED\n"
            + nic() + "  PCI   INTx:1 MSI-X:4* ERR:1 REQ:1*  "
            + "READ_CONFIG READ_REGION WRITE RESET TRIGGER FEATURE INTERRUPTS\n");
    assertThat(run("list", nic(), "--json").out())
        .startsWith("{\"device\":\"" + nic() + "\",\"kind\":\"PCI\",\"interrupts\":["
            + "{\"index\":0,\"name\":\"INTx\",\"count\":1,\"enabled\":false},"
            + "{\"index\":2,\"name\":\"MSI-X\",\"count\":4,\"enabled\":true},")
        .endsWith("\"RESET\",\"TRIGGER\",\"FEATURE\",\"INTERRUPTS\"]}\n");
  }

  @Test
  void listsThisMachine() {
    PciFunction function = new PciFunction(
        PciAddress.parse("0000:01:00.0"),
        0x8086,
        0x10c9,
        0x020000,
        Optional.of("igb"),
        OptionalInt.of(7),
        Optional.empty(),
        List.of(new Finding(
            new VfioException("open", "0000:01:00.0", 0, "igb has it", "bind it to vfio-pci"),
            true)));
    assertThat(ListCommand.cells(function))
        .containsExactly("0000:01:00.0", "8086:10c9", "020000", "igb", "7", "igb has it");
    assertThat(ListCommand.json(function))
        .isEqualTo("{\"device\":\"0000:01:00.0\",\"id\":\"8086:10c9\",\"class\":\"020000\","
            + "\"driver\":\"igb\",\"group\":7,\"canOpen\":false,\"findings\":[{\"certain\":true,"
            + "\"problem\":\"igb has it\",\"remedy\":\"bind it to vfio-pci\"}]}");
    Run run = run("list");
    assertThat(run.code()).isZero();
    assertThat(run.out()).startsWith("DEVICE  ");
  }

  @Test
  void dumpsConfigSpace() {
    assertThat(run("config", nic()).out()).isEqualTo("""
            nic 1234:5678
              class      020000, revision 01
              subsystem  0000:0000
              command    0006, memory, bus master
              status     0010
              INTx       pin A, line 0
              BAR 0      memory, 32 bits, at 0xe0000000
              BAR 5      memory, 32 bits, at 0xe0001000
              [40]       MSI-X: 4 vectors, disabled, table in BAR 5 at 0x0, pending bits in BAR 5 at 0x40
            """);
    Run hex = run("config", nic(), "--hex");
    assertThat(hex.out())
        .startsWith("00: 34 12 78 56 06 00 10 00 01 00 00 02 00 00 00 00\n10: 00 00 00 e0 ")
        .hasLineCount(16);
    Run json = run("config", nic(), "--json");
    assertThat(json.out())
        .startsWith(
            "{\"device\":\"nic\",\"vendorId\":4660,\"deviceId\":22136,\"classCode\":131072,")
        .contains(
            "{\"offset\":64,\"id\":17,\"extended\":false,\"name\":\"MSI-X\",\"details\":\"4 vectors,")
        .hasLineCount(1);
    String digits = hex.out().replaceAll("(?m)^..: ", "").replaceAll("\\s", "");
    assertThat(json.out()).contains("\"data\":\"" + digits + "\"");
    assertThat(HexFormat.of().parseHex(digits)).hasSize(256);
  }

  @Test
  void watchesAVectorToTheLastSignal() {
    owned.interrupts().msix().enable(4).block(LIMIT);
    raise(1, 1000);
    // The signals of the second line come when the first one has been written.
    ByteArrayOutputStream out = new ByteArrayOutputStream() {
      private boolean told;

      @Override
      public synchronized void flush() {
        if (!told && size() > 0) {
          told = true;
          raise(1, 1);
        }
      }
    };
    assertThat(run(out, "watch", nic(), "msix", "1", "--count", "2")).isZero();
    String line = "{\"time\":\"2026-11-25T12:00:01.500Z\",\"index\":2,\"vector\":1,";
    assertThat(out.toString(StandardCharsets.UTF_8))
        .isEqualTo(
            line + "\"count\":1000,\"total\":1000}\n" + line + "\"count\":1,\"total\":1001}\n");
    assertThat(errors.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(owned.interrupts().isEnabled(2)).isTrue();
  }

  @Test
  void watchesALineAndHoldsNothingUp() {
    owned.interrupts().intx().enable().block(LIMIT);
    owned.interrupts().intx().trigger().block(LIMIT);
    assertThat(run("watch", nic(), "intx", "0", "--count", "1").out())
        .contains("\"index\":0,\"vector\":0,\"count\":1,\"total\":1}");
  }

  @Test
  void endsWhenItsTimeIsOver() {
    owned.interrupts().msix().enable(1).block(LIMIT);
    Run run = run("watch", nic(), "msix", "0", "--for", "50ms");
    assertThat(run).isEqualTo(new Run(0, "", ""));
  }

  @Test
  void doesNotEnableWhatItsOwnerHasNot() {
    Run watch = run("watch", nic(), "msix", "0", "--count", "1");
    assertThat(watch)
        .isEqualTo(new Run(
            1,
            "",
            "irqtop: nic: the owner has enabled no MSI-X; have it enable some: irqtop does not change"
                + " another process's device\n"));
    assertThat(owned.interrupts().isEnabled(2)).isFalse();
  }

  @Test
  void countsEverySignalOfEveryVector() {
    owned.interrupts().msix().enable(3).block(LIMIT);
    raise(0, 100_000);
    raise(2, 7);
    List<TopView.Row> rows = new ArrayList<>();
    TopCommand top = new TopCommand(
        new Looking(
            new Access(Optional.of(TOKEN), Optional.empty(), Optional.empty(), Optional.empty()),
            false),
        List.of(Target.parse(nic())),
        Duration.ofMillis(20),
        Optional.of(1L));
    List<String> problems =
        top.run((view, time) -> rows.addAll(view.rows()), CLOCK).block(LIMIT);
    assertThat(rows)
        .extracting(row -> row.vector().number(), TopView.Row::total)
        // The last one is REQ, which every owner listens to.
        .containsExactly(tuple(0, 100_000L), tuple(1, 0L), tuple(2, 7L), tuple(0, 0L));
    assertThat(problems).isEmpty();
    // Nothing was taken: who subscribes now is the first, and gets all.
    StepVerifier.create(
            owned.interrupts().msix().vector(0).map(Interrupt::count).take(1))
        .expectNext(100_000L)
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void showsAsManyViewsAsAreAskedFor() {
    owned.interrupts().msix().enable(1).block(LIMIT);
    Run run = run(nic(), "--batch", "--interval", "20ms", "--count", "2");
    assertThat(run.code()).isZero();
    assertThat(run.out().lines().filter(line -> line.startsWith("irqtop 12:00:01  devices: 1")))
        .hasSize(2);
    assertThat(run.out().lines().filter(line -> line.startsWith("nic     MSI-X        0 ")))
        .hasSize(2);
  }

  @Test
  void goesOnWithTheOthersIfADeviceFails() {
    owned.interrupts().msix().enable(1).block(LIMIT);
    Run run = run(nic(), bridge.uri() + "/none", "--batch", "--once", "--interval", "20ms");
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.out()).contains("devices: 2, vectors: 2").contains("nic     MSI-X");
    assertThat(run.err())
        .startsWith("irqtop: none: ")
        .contains("no device of this name")
        .hasLineCount(1);
  }

  @Test
  void worksOverAUnixSocket(@TempDir Path directory) {
    Path socket = directory.resolve("bridge.sock");
    VfioBridge local = serve(VfioBridge.builder().listen(socket));
    owned.interrupts().msix().enable(1).block(LIMIT);
    raise(0, 5);
    assertThat(run("watch", "unix://" + socket + "#nic", "msix", "0", "--count", "1")
            .out())
        .contains("\"count\":5,");
    assertThat(run("list", "unix://" + socket).out()).contains("unix://" + socket + "#nic");
    local.close().block(LIMIT);
  }

  @Test
  void aTokenComesFromAFile(@TempDir Path directory) throws IOException {
    Path file = Files.writeString(directory.resolve("token"), TOKEN + "\n");
    Files.writeString(directory.resolve("wrong"), "another token than that");
    assertThat(run("config", nic(), "--token-file", file.toString()).code()).isZero();
    Run wrong = run("config", nic(), "--token-file", directory.resolve("wrong").toString());
    assertThat(wrong.code()).isEqualTo(1);
    assertThat(wrong.err()).contains("does not know the token").hasLineCount(1);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--what",
        "nothing",
        "config nothing",
        "watch demo 9 0",
        "watch demo msix x",
        "demo --token-file /nonexistent/file",
      })
  void isCalledWrongly(String line) {
    Run run = run(line.split(" "));
    assertThat(run.code()).isEqualTo(2);
    assertThat(run.out()).isEmpty();
    assertThat(run.err())
        .startsWith("irqtop: ")
        .endsWith("; see irqtop --help\n")
        .hasLineCount(1);
  }

  @Test
  void asksForATokenBeforeItConnects() {
    int code = Irqtop.run(
        new ByteArrayOutputStream(),
        new PrintStream(errors, true, StandardCharsets.UTF_8),
        Map.of(),
        CLOCK,
        "top",
        nic());
    assertThat(code).isEqualTo(2);
    assertThat(errors.toString(StandardCharsets.UTF_8)).contains("--token-file").hasLineCount(1);
  }

  @Test
  void saysWhatIsWrongInOneLine() {
    Run run = run("config", "http://127.0.0.1:1/nic");
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.err())
        .startsWith("irqtop: nic: http://127.0.0.1:1 cannot be reached: ")
        .hasLineCount(1);
    assertThat(run("watch", nic(), "intx", "1").err()).contains("one vector").hasLineCount(2);
  }

  @Test
  void aReaderThatHasGoneIsNoFailure() {
    assertThat(run(failing("Broken pipe"), "config", nic())).isZero();
    assertThat(errors.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(run(failing("No space left on device"), "config", nic())).isEqualTo(1);
    assertThat(errors.toString(StandardCharsets.UTF_8))
        .isEqualTo("irqtop: the output cannot be written: No space left on device\n");
  }

  private static OutputStream failing(String why) {
    return new OutputStream() {
      @Override
      public void write(int b) throws IOException {
        throw new IOException(why);
      }
    };
  }

  // ---- as a process

  private Process start(ProcessBuilder.Redirect out, String... args) throws IOException {
    // What a shell has started behind its back ignores SIGINT, and so do its children.
    List<String> command = new ArrayList<>(List.of("env", "--default-signal=INT"));
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    if (Runtime.version().feature() >= 24) {
      // These warn, on the process's standard error, of native code that is loaded without leave.
      command.add("--enable-native-access=ALL-UNNAMED");
    }
    command.add("-XX:TieredStopAtLevel=1");
    command.add("-cp");
    command.add(System.getProperty("java.class.path"));
    command.add(Irqtop.class.getName());
    command.addAll(List.of(args));
    ProcessBuilder builder = new ProcessBuilder(command).redirectOutput(out);
    builder.environment().put("IRQTOP_TOKEN", TOKEN);
    return builder.start();
  }

  @Test
  void ctrlCEndsItInOrder() throws Exception {
    owned.interrupts().msix().enable(1).block(LIMIT);
    raise(0, 3);
    Process process = start(ProcessBuilder.Redirect.PIPE, "watch", nic(), "msix", "0");
    assertThat(process.inputReader().readLine()).contains("\"total\":3}");
    // SIGINT, which Java has no method for.
    new ProcessBuilder("kill", "-INT", String.valueOf(process.pid())).start().waitFor();
    assertThat(process.waitFor(LIMIT.toSeconds(), TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).isEqualTo(130);
    assertThat(process.errorReader().readLine()).isNull();
  }

  @Test
  void aPipeThatIsClosedEndsItQuietly() throws Exception {
    owned.interrupts().msix().enable(1).block(LIMIT);
    raise(0, 3);
    Process process = start(ProcessBuilder.Redirect.PIPE, "watch", nic(), "msix", "0");
    assertThat(process.inputReader().readLine()).contains("\"total\":3}");
    process.getInputStream().close();
    raise(0, 1);
    assertThat(process.waitFor(LIMIT.toSeconds(), TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).isZero();
    assertThat(process.errorReader().readLine()).isNull();
  }

  @Test
  void isADemonstrationOfItself() throws Exception {
    File out = File.createTempFile("irqtop", ".txt");
    out.deleteOnExit();
    Process process = start(ProcessBuilder.Redirect.to(out), "--interval", "100ms");
    assertThat(process.waitFor(LIMIT.toSeconds(), TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).isZero();
    assertThat(Files.readString(out.toPath()).lines().filter(line -> line.startsWith("demo  ")))
        .hasSizeGreaterThanOrEqualTo(12);
  }
}
