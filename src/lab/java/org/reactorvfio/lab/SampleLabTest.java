package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The samples that drive emulated devices drive the real ones, too, by their addresses. */
@Tag("lab")
@Timeout(90)
class SampleLabTest {
  private static final Path EDU =
      Path.of("samples/edu/src/main/java/org/reactorvfio/samples/edu/Edu.java");

  @ParameterizedTest
  @ValueSource(strings = {"MSI", "INTx"})
  void computesFactorials(String interrupt) throws Exception {
    String address = LabDevice.address("VFIO_LAB_EDU").toString();
    Process sample = LabDevice.java(
        List.of(),
        EDU.toString(),
        "INTx".equals(interrupt) ? new String[] {address, "intx"} : new String[] {address});
    try (BufferedReader output = sample.inputReader();
        Stream<String> lines = output.lines()) {
      assertThat(lines.toList())
          .hasSize(13)
          .startsWith(
              address + ": edu 0x10000ed, told by " + interrupt, "1! = 1", "2! = 2", "3! = 6")
          .endsWith("12! = 479001600");
      assertThat(sample.waitFor(30, TimeUnit.SECONDS)).isTrue();
      assertThat(sample.exitValue()).isZero();
    } finally {
      sample.destroyForcibly();
    }
  }

  @Test
  void computesFactorialsThroughAnOperator() throws Exception {
    String address = LabDevice.address("VFIO_LAB_EDU").toString();
    Process sample =
        LabDevice.java(List.of(), "org.reactorvfio.samples.vendoroperator.Factorials", address);
    try (BufferedReader output = sample.inputReader();
        Stream<String> lines = output.lines()) {
      assertThat(lines.toList())
          .hasSize(13)
          .startsWith(address + " calculates", "1! = 1", "2! = 2", "3! = 6")
          .endsWith("12! = 479001600");
      assertThat(sample.waitFor(30, TimeUnit.SECONDS)).isTrue();
      assertThat(sample.exitValue()).isZero();
    } finally {
      sample.destroyForcibly();
    }
  }

  @Test
  void readsAndWritesNvme() throws Exception {
    String address = LabDevice.address("VFIO_LAB_NVME").toString();
    Process sample = LabDevice.java(List.of(), "org.reactorvfio.samples.nvme.Nvme", address, "500");
    try (BufferedReader output = sample.inputReader();
        Stream<String> lines = output.lines()) {
      List<String> all = lines.toList();
      all.forEach(System.out::println);
      assertThat(all).hasSize(2 + 2 + 7);
      assertThat(all.get(0))
          .startsWith("QEMU NVMe Ctrl, serial lab, firmware ")
          .endsWith(": 32768 blocks of 512 bytes, 4 queue pairs, up to 524288 bytes a command");
      assertThat(all.get(1)).isEqualTo("256 chunks are as they were written");
      List<String> rows = all.subList(4, all.size());
      assertThat(rows).allMatch(row -> row.matches("\\|( [1-9][0-9,]* \\|){4}"));
      // A read's own objects and what the measuring loop adds, but no buffers, lists or strings.
      assertThat(rows)
          .last()
          .satisfies(row -> assertThat(Long.parseLong(row.split(" ")[7])).isLessThan(600));
      assertThat(sample.waitFor(30, TimeUnit.SECONDS)).isTrue();
      assertThat(sample.exitValue()).isZero();
    } finally {
      sample.destroyForcibly();
    }
  }
}
