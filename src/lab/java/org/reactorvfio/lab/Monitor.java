package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Objects;

/** QEMU's machine protocol: does to the guest's hardware what nothing inside of the guest can. */
final class Monitor {
  private static final String PORT = Objects.requireNonNull(System.getenv("VFIO_LAB_QMP"));

  private Monitor() {}

  /** Takes a device out, as a pressed button does: the guest has 5 seconds to object. */
  static void unplug(String id) {
    execute("{\"execute\": \"device_del\", \"arguments\": {\"id\": \"" + id + "\"}}");
  }

  /** Puts the igb card back into its slot, as soon as QEMU and the slot have done with taking it out. */
  static void plugIgb() {
    LabDevice.eventually(
        () ->
            !ask("{\"execute\": \"device_add\", \"arguments\": {\"driver\": \"igb\", \"id\": \"igb\","
                    + " \"bus\": \"root_port\", \"netdev\": \"net1\", \"romfile\": \"\"}}")
                .contains("\"error\""),
        "the slot is free");
  }

  /** Makes a device report an error to its root port (Advanced Error Reporting). */
  static void injectError(String id, String error) {
    execute("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\":"
        + " \"pcie_aer_inject_error " + id + " " + error + "\"}}");
  }

  private static void execute(String command) {
    assertThat(ask(command)).doesNotContain("\"error\"");
  }

  /** Asks for something and waits for the answer; events before it are passed over. */
  private static synchronized String ask(String command) {
    try (FileInputStream in = new FileInputStream(PORT);
        FileOutputStream out = new FileOutputStream(PORT)) {
      // Events since the last command.
      read(in);
      out.write((command + "\n").getBytes(StandardCharsets.US_ASCII));
      StringBuilder answer = new StringBuilder();
      LabDevice.eventually(() -> answered(in, answer), "QEMU answers " + command);
      return answer.toString();
    } catch (IOException e) {
      throw new UncheckedIOException(PORT, e);
    }
  }

  private static boolean answered(FileInputStream in, StringBuilder answer) {
    try {
      answer.append(read(in));
    } catch (IOException e) {
      throw new UncheckedIOException(PORT, e);
    }
    return answer
        .toString()
        .lines()
        .anyMatch(line ->
            line.contains("\"return\"") && line.endsWith("}") || line.contains("\"error\""));
  }

  /** What has arrived; a serial port has no position, which {@code readNBytes} would ask for. */
  private static String read(FileInputStream in) throws IOException {
    byte[] bytes = new byte[in.available()];
    int n = bytes.length == 0 ? 0 : in.read(bytes);
    return new String(bytes, 0, n, StandardCharsets.US_ASCII);
  }
}
