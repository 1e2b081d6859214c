package org.reactorvfio.bridge;

import static java.util.stream.Collectors.joining;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;

/** An application without Reactor Netty and Jackson has the whole library but the bridge, and is told what that needs. */
class BridgeIsOptionalTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);

  @Test
  void theRestOfTheLibraryNeedsNoneOfItsDependencies() throws IOException, InterruptedException {
    String path = Stream.of(
            System.getProperty("java.class.path").split(Pattern.quote(File.pathSeparator)))
        .filter(entry -> !entry.endsWith(".jar")
            || entry.matches(".*/(reactor-core|reactive-streams|jna)-[0-9.]+\\.jar"))
        .collect(joining(File.pathSeparator));
    Process process = new ProcessBuilder(
            System.getProperty("java.home") + "/bin/java",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            path,
            Application.class.getName())
        .redirectErrorStream(true)
        .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();

    assertThat(output)
        .contains("3 signals")
        .contains("exporting: io.projectreactor.netty:reactor-netty-http is not on the class path")
        .contains("opening: io.projectreactor.netty:reactor-netty-http is not on the class path")
        .contains("listing: io.projectreactor.netty:reactor-netty-http is not on the class path");
    assertThat(process.exitValue()).isZero();
  }

  /** What runs there. */
  static final class Application {
    private Application() {}

    public static void main(String[] args) {
      EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678).msix(2).build();
      VfioDevice device = Vfio.open(hardware).block(LIMIT);
      device
          .config()
          .enableBusMaster()
          .then(device.interrupts().msix().enable(2))
          .block(LIMIT);
      for (int i = 0; i < 3; i++) {
        hardware.raiseMsix(1);
      }
      Interrupt interrupt = device.interrupts().msix().vector(1).blockFirst(LIMIT);
      print(interrupt.count() + " signals");
      VfioRemote remote = Vfio.remote(URI.create("http://127.0.0.1:1")).withToken("a token");
      refused("exporting", () -> VfioBridge.serve(device).block(LIMIT));
      refused("opening", () -> Vfio.open(remote.device("nic")).block(LIMIT));
      refused("listing", () -> remote.devices().blockLast(LIMIT));
      device.close().block(LIMIT);
    }

    private static void refused(String what, Runnable use) {
      try {
        use.run();
        print(what + ": possible");
      } catch (NotSupportedException e) {
        print(what + ": " + e.problem());
      }
    }

    private static void print(String line) {
      System.out.println(line);
    }
  }
}
