// SPDX-License-Identifier: Apache-2.0
// The most frequent words of a text, counted by parallel streams: Words FILE. Knows nothing of enclaves.
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Collectors;

public class Words {
	public static void main(String[] args) throws Exception {
		Map<String, Long> count = Files.readAllLines(Path.of(args[0])).parallelStream()
			.flatMap(line -> Arrays.stream(line.toLowerCase().split("[^a-z]+")))
			.filter(word -> word.length() > 0)
			.collect(Collectors.groupingByConcurrent(word -> word, Collectors.counting()));
		count.entrySet().stream()
			.sorted(Map.Entry.<String, Long>comparingByValue().reversed().thenComparing(Map.Entry.comparingByKey()))
			.limit(3).forEach(e -> System.out.println(e.getValue() + " " + e.getKey()));
	}
}
