package org.reactorvfio.samples.irqtop;

import java.io.UncheckedIOException;
import org.reactorvfio.VfioException;
import reactor.core.Exceptions;

/** A failure as one line: what is wrong, and what to do about it. */
final class Problem {
  private Problem() {}

  static String of(String subject, Throwable failure) {
    Throwable e = Exceptions.unwrap(failure);
    String text = e instanceof VfioException vfio
        ? vfio.problem() + "; " + vfio.remedy()
        : e instanceof UsageException
                || e instanceof UncheckedIOException
                || e instanceof IllegalArgumentException
                || e instanceof IllegalStateException
                || e instanceof IndexOutOfBoundsException
            ? String.valueOf(e.getMessage())
            : e.toString();
    String of = subject.isEmpty() && e instanceof VfioException vfio ? vfio.device() : subject;
    return (of.isEmpty() ? "" : of + ": ") + text.replaceAll("\\s+", " ");
  }
}
